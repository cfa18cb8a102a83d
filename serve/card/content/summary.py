"""The first screen: what a model does, for whom, how sure, and what it was never tested on."""

from serve.card.chain import Evidence
from serve.card.content.reliability import in_short
from serve.card.content.results import defined, held_out, task_name, warnings
from serve.card.content.tables import Figures
from serve.card.content.training import modalities
from serve.card.document import Block, Bullets, Line, Paragraph, Section, line, listed
from serve.card.graph import Node


def seen(evidence: Evidence) -> list[Block]:
    """What stands above all else: test patients who were seen in training."""
    return [block for evaluation in evidence.evaluations for block in warnings(evidence, evaluation, "seen")]


def summary(evidence: Evidence) -> list[Block]:
    """Warnings first, then a section in plain words."""
    blocks: list[Block] = [
        block for evaluation in evidence.evaluations for block in warnings(evidence, evaluation, "beaten")
    ]
    if any(run.file.at("data", "synthetic") for run in evidence.runs):
        blocks.append(
            Paragraph(
                line(
                    "Synthetic data: a program made the patients of at least one cohort below. The numbers show that "
                    "the path works. They say nothing about people; the model has no clinical meaning."
                ),
                loud=True,
            )
        )
    tasks = [task_name(evidence, evaluation) for evaluation in evidence.evaluations]
    unique = list({task.text: task for task in tasks}.values())
    what = line(
        "This model predicts ",
        *listed(unique),
        " from what there is of a patient: any of ",
        *listed(modalities(evidence)),
        ". Each number on the page opens the run record that it comes from.",
    )
    blocks.append(Section("summary", line("In short"), (Paragraph(what), Bullets(_points(evidence)))))
    return blocks


def _tested(figures: Figures) -> list[Line]:
    """Where a task was tested, and for whom the test says nothing."""
    file = figures.evaluation.file
    hospitals = [figures.name("by_hospital", name) for name in file.at("by_hospital", default={})]
    lines = []
    if hospitals:
        lines.append(
            line(
                task_name(figures.evidence, figures.evaluation),
                " was tested at ",
                *listed(hospitals),
                " and at no other hospital.",
            )
        )
    few = [
        figures.name("by_group", group, level)
        for group, levels in file.at("by_group", default={}).items()
        for level, one in levels.items()
        if group != "has" and not defined(one)
    ]
    if few:
        lines.append(line("Too few test patients for any figure: ", *listed(few), "."))
    return lines


def _points(evidence: Evidence) -> tuple[Line, ...]:
    lines = []
    for evaluation in evidence.evaluations:
        figures = Figures(evidence, evaluation)
        metric = figures.primary[0]
        value = figures.figure(("overall", metric), ("model", "all", "all", "all", metric))
        parts: list[str | Node] = [task_name(evidence, evaluation), ": ", *figures.metric("overall", metric), " "]
        parts += [value, " on "]
        parts.append("held-out patients" if held_out(evaluation) else "patients seen in training")
        if metric in evaluation.file.at("baseline", default={}):
            baseline = figures.figure(("baseline", metric), ("age and sex", "all", "all", "all", metric))
            parts += ["; age and sex alone reach ", baseline]
        lines.append(line(*parts, "."))
        lines += _tested(figures)
        lines.append(
            in_short(figures, task_name(evidence, evaluation))
            or line(
                "No rule was saved by which ",
                task_name(evidence, evaluation),
                " abstains: people must decide when to give no answer.",
            )
        )
    lines += [
        line("Not a medical device: not for diagnosis, treatment or triage of any person."),
        line(
            "Another hospital's stain, scanner, tests or patients can change these results; intervals tell of chance "
            "alone."
        ),
        line(
            "What a patient lacks is left out, not guessed. Results by modality tell how far to trust an answer from "
            "one of them."
        ),
        line("Small groups have wide intervals. Where these reach the baseline's value, no gain is shown."),
    ]
    return tuple(lines)
