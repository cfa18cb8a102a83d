"""How well a task model answers: on whom, beside what, where, for whom, from what, and at a hospital yet to come."""

import re

from serve.card.chain import Evaluation, Evidence
from serve.card.content.curves import curves
from serve.card.content.failures import failures
from serve.card.content.gaps import gaps
from serve.card.content.outcome import outcome
from serve.card.content.pictures import pictures
from serve.card.content.reliability import reliability
from serve.card.content.sample_size import sample_size
from serve.card.content.tables import Figures, metrics
from serve.card.document import Block, Line, Paragraph, Picture, Section, Table, line
from serve.card.graph import Node

PICTURE = "evaluation.png"


def picture_name(evidence: Evidence, evaluation: Evaluation) -> str:
    """`evaluation-<task>.png`, numbered where the card holds another evaluation of that name."""
    names: list[str] = []
    for other in evidence.evaluations[: evidence.evaluations.index(evaluation) + 1]:
        stem = _stem(evidence, other)
        numbered = (f"{stem}-{number}.png" for number in range(2, len(names) + 3))
        names.append(next(name for name in (f"{stem}.png", *numbered) if name not in names))
    return names[-1]


def _stem(evidence: Evidence, evaluation: Evaluation) -> str:
    return "evaluation-" + re.sub(r"[^A-Za-z0-9_.-]+", "-", task_name(evidence, evaluation).text)


def results(evidence: Evidence) -> Section:
    """A section for each evaluated task."""
    parts = tuple(_result(evidence, evaluation) for evaluation in evidence.evaluations)
    return Section("results", line("Results"), parts)


def task_name(evidence: Evidence, evaluation: Evaluation) -> Node:
    """What the task is called."""
    if evaluation.task is None and evaluation.run.file.at("config", "task", "name"):
        return evidence.graph.value(f"{evaluation.id}/task", evaluation.run.file, "config", "task", "name")
    if evaluation.task is None:
        return evidence.graph.derived(
            f"{evaluation.id}/task", evaluation.run.folder.name, "the folder's name", [evaluation.run.file.source()]
        )
    return evidence.graph.value(f"{evaluation.id}/task", evaluation.task, "name")


def held_out(evaluation: Evaluation) -> bool:
    """Whether no test patient was seen in training."""
    return bool(evaluation.run.file.at("notes", "held_out", default=True))


def warnings(evidence: Evidence, evaluation: Evaluation, key: str) -> list[Paragraph]:
    """What must be said first: who was seen in training (`seen`), or which baseline beats the model (`beaten`)."""
    if not evaluation.file.at(key):
        return []
    words = evidence.graph.value(f"{evaluation.id}/{key}", evaluation.file, key)
    return [Paragraph(line(task_name(evidence, evaluation), ": ", words), loud=True)]


def _result(evidence: Evidence, evaluation: Evaluation) -> Section:
    graph, figures = evidence.graph, Figures(evidence, evaluation)
    name = task_name(evidence, evaluation)
    title = line(name)
    blocks: list[Block] = [Paragraph(_who(evidence, evaluation, figures))]
    beside = (outcome(evidence, evaluation), sample_size(figures))
    blocks += [_main(figures), *(table for table in beside if table)]
    if (evaluation.run.folder / PICTURE).is_file():
        alt = ("Intervals of ", name, " by hospital and by modalities, beside the baseline")
        file = picture_name(evidence, evaluation)
        blocks.append(Picture(f"{evaluation.id}/picture", "", line(*alt), file=file))
    blocks += [*pictures(figures, name), *curves(figures, name)]
    blocks += [
        table
        for table in (_folds(figures), *_groups(figures), gaps(figures), reliability(figures), failures(figures))
        if table
    ]
    blocks += [table for table in (_beside(figures), _shortcuts(figures)) if table]
    if evaluation.task is not None and evaluation.task.at("kind"):
        title = line(*title, " (", graph.value(f"{evaluation.id}/kind", evaluation.task, "kind"), ")")
    return Section(evaluation.id, title, tuple(blocks))


def _who(evidence: Evidence, evaluation: Evaluation, figures: Figures) -> Line:
    """On whom it was tested."""
    words = "Held-out patients" if held_out(evaluation) else "Patients seen in training"
    if evaluation.folds:
        words = "Cross-validation: every fold tests a model that other patients trained; patients"
    run = evaluation.run
    parts: list[str | Node] = [words]
    if run.file.at("data", "name"):
        parts += [" of cohort ", evidence.graph.value(f"{evaluation.id}/cohort", run.file, "data", "name")]
    if run.file.at("data", "synthetic"):
        parts.append(" (synthetic)")
    primary = figures.primary[0]
    n = ("n",) if evaluation.file.at("n") is not None else ("overall", primary, "n")
    parts += [": ", figures.count(*n)]
    named = [name for name in figures.outcomes if evaluation.file.at(name) is not None]
    for name in named:
        parts += [", with " if name == named[0] else ", ", figures.count(name), " "]
        parts.append(figures.label(name.replace("_", " "), name))
    return line(*parts, ".")


def _main(figures: Figures) -> Table:
    """Every main metric of the model, of age and sex alone, and at a new hospital."""
    file = figures.evaluation.file
    baseline, new = file.at("baseline", default={}), file.at("new_hospital", default={})
    rows = []
    for metric, path in metrics(file.at("overall")).items():
        whole = ("all", "all", "all", metric)
        row = [figures.metric("overall", *path), line(figures.figure(("overall", *path), ("model", *whole)))]
        if baseline:
            known = metric in baseline
            row.append(line(figures.figure(("baseline", metric), ("age and sex", *whole)) if known else "–"))
        if new:
            row.append(_new_hospital(figures, metric) if metric in new else line("–"))
        rows.append(tuple(row))
    head = [line("metric"), line("model")]
    head += [line("baseline: age and sex")] if baseline else []
    head += [line("at a new hospital")] if new else []
    caption = line(
        "Values with bootstrap intervals", *(["; the baseline is on the same split"] if baseline else []), ":"
    )
    return Table(caption, tuple(head), tuple(rows))


def _new_hospital(figures: Figures, metric: str) -> Line:
    """The interval for a hospital yet to come, or why there is none."""
    node = figures.figure(("new_hospital", metric), ("model", "all", "all", "all", metric))
    if node.value is not None or not node.reason:
        return line(node)
    name = f"{figures.evaluation.id}/new_hospital/{metric}/reason"
    return line("– (", figures.graph.value(name, figures.evaluation.file, "new_hospital", metric, "reason"), ")")


def _groups(figures: Figures) -> list[Table | None]:
    """By hospital, by what the model was shown, and by subgroup."""
    file = figures.evaluation.file
    hospitals = {label: ("all", "hospital", label) for label in file.at("by_hospital", default={})}
    subsets = {label: (label, "all", "all") for label in file.at("by_modality", default={})}
    tables = [
        figures.by(line("By hospital:"), "hospital", ("by_hospital",), hospitals),
        figures.by(line("By modalities shown:"), "modalities", ("by_modality",), subsets),
        figures.by(line("By subgroup:"), "subgroup", ("groups",), dict.fromkeys(file.at("groups", default={}), ())),
    ]
    for group, levels in file.at("by_group", default={}).items():
        shown = {level: ("all", group, level) for level, one in levels.items() if group != "has" or defined(one)}
        title = "what patients have" if group == "has" else figures.label(group.replace("_", " "), "by_group", group)
        tables.append(figures.by(line("By ", title, ":"), title, ("by_group", group), shown))
    return tables


def _folds(figures: Figures) -> Table | None:
    """Each fold by itself, and their mean."""
    graph, file, base = figures.graph, figures.evaluation.file, figures.evaluation.id
    folds = file.at("folds", default=[])
    if not folds:
        return None
    metric, rows = file.at("metric"), []
    for at in range(len(folds)):
        keys = ("folds", at)
        name, n = (graph.value(f"{base}/folds/{at}/{key}", file, *keys, key) for key in ("name", "n"))
        figure = graph.figure(
            f"{base}/folds/{at}/{metric}", file, (*keys, metric), [file.source(*keys, "n")], n=n.value
        )
        rows.append((line(name), line(n), line(figure)))
    mean, spread, number = (graph.value(f"{base}/mean/{key}", file, "mean", key) for key in ("value", "sd", "folds"))
    title = line("mean of ", number, " folds, and standard deviation")
    rows.append((title, line("–"), line(mean, " ± ", spread)))
    return Table(line("By fold:"), (line("fold"), line("patients"), figures.metric("overall", metric)), tuple(rows))


def defined(group: dict[str, dict[str, float | None]]) -> bool:
    """Whether a group has any figure."""
    return any(group[path[0]].get("value") is not None for path in metrics(group).values())


def _beside(figures: Figures) -> Table | None:
    """What needs no encoder, and controls whose inputs were spoilt, judged on the same patients as the model."""
    rows = []
    for key in ("baselines", "controls"):
        for name, entry in figures.evaluation.file.at(key, default={}).items():
            keys, n = (key, name), (key, name, "n")
            alone = {metric: one for metric, one in entry.items() if metric not in ("model", "gain")}
            for metric in metrics(alone):
                parts = [(*keys, metric), (*keys, "model", metric), (*keys, "gain", metric)]
                known = [part for part in parts if figures.evaluation.file.at(*part) is not None]
                cells = [line(figures.figure(part, n=n) if part in known else "–") for part in parts]
                rows.append((line(figures.name(*keys)), line(figures.count(*n)), *cells))
    if not rows:
        return None
    head = tuple(map(line, ("baseline or control", "patients", "it alone", "model, same patients", "model less it")))
    caption = line("Beside simpler models and spoilt inputs, on the patients that each can judge:")
    return Table(caption, head, tuple(rows), folded=True)


def _shortcuts(figures: Figures) -> Table | None:
    """How well features tell the hospital: what a model could learn instead."""
    graph, file = figures.graph, figures.evaluation.file
    rows = []
    for name, entry in file.at("controls", default={}).items():
        keys = ("controls", name)
        if isinstance(entry.get("value"), float):
            value = figures.figure(keys, n=(*keys, "n"))
            chance = graph.value(f"{figures.evaluation.id}/{'/'.join(keys)}/chance", file, *keys, "chance")
            rows.append((line(figures.name(*keys)), line(figures.count(*keys, "n")), line(value), line(chance)))
    head = tuple(map(line, ("shortcut", "patients", "accuracy", "chance")))
    caption = line("How well features tell the hospital: far above chance, a model could learn the place instead.")
    return Table(caption, head, tuple(rows), folded=True) if rows else None
