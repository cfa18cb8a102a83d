"""What each training run did: on what, how long, with which losses; and retrieval at hospitals left out."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from foundation.lineage import trained_groups
from serve.card.chain import Evidence, Run
from serve.card.content.computing import computing, total
from serve.card.content.settings import settings
from serve.card.content.tables import metric_name
from serve.card.document import Block, Line, Paragraph, Section, Table, line, listed
from serve.card.graph import Node

_RECALL = re.compile(r"(\w+)_to_(\w+)/r@(5)")
_NAMES = {
    "train/loss_epoch": "training loss, mean of the last epoch",
    "train/loss_step": "training loss, last step",
    "validation/loss": "validation loss",
    "validation/best_loss": "validation loss of the weights kept",
}


def training(evidence: Evidence) -> Section:
    """A section for each run that made weights, and the modalities that they take."""
    trained = [run for run in evidence.runs if run.trains]
    first = [block for block in (_modalities(evidence), total(evidence, trained)) if block is not None]
    return Section("training", line("Training"), (*first, *(_run(evidence, run) for run in trained)))


def modalities(evidence: Evidence) -> list[Node]:
    """Modalities that the encoder takes and that any patient trained."""
    trained = trained_groups(run.record for run in evidence.runs)
    for run in evidence.runs:
        path = run.folder / "encoder" / "config.json"
        if path.is_file():
            file = evidence.graph.read(path)
            return [
                evidence.graph.key(f"modality/{name}", file, "modalities", name)
                for name in file.at("modalities")
                if name in trained
            ]
    return []


def _modalities(evidence: Evidence) -> Table | None:
    """The encoder's towers and their settings."""
    graph, rows = evidence.graph, []
    for name in modalities(evidence):
        file = next(file for file in graph.files.values() if file.name == name.sources[0].file)
        keys = ("modalities", str(name.value))
        kind = file.at(*keys, "type").rpartition(".")[2]
        node = graph.derived(f"{name.id}/type", kind, "the class", [file.source(*keys, "type")])
        parts: list[str | Node] = []
        for key, value in file.at(*keys, "settings", default={}).items():
            if isinstance(value, str | int | float | bool) or value is None:
                at = (*keys, "settings", key)
                setting = graph.value(f"{name.id}/{key}", file, *at, style="setting")
                label = graph.derived(f"{name.id}/{key}/name", key.replace("_", " "), "the key", [file.source(*at)])
                parts += [*([", "] if parts else []), label, " ", setting]
        rows.append((line(name), line(node), line(*parts)))
    head = (line("modality"), line("encoder"), line("settings"))
    return Table(line("Modalities and their encoders:"), head, tuple(rows), folded=True) if rows else None


def _run(evidence: Evidence, run: Run) -> Section:
    graph = evidence.graph
    stage = graph.derived(f"{run.id}/stage", run.stage, "the command without its prefix", [run.file.source("command")])
    rows = [
        (line("seed"), line(graph.value(f"{run.id}/seed", run.file, "seed"))),
        (line("time"), line(graph.value(f"{run.id}/seconds", run.file, "seconds", style="duration", unit="seconds"))),
        (line("hardware"), _hardware(evidence, run)),
    ]
    rows += computing(evidence, run)
    if run.file.at("data", "name"):
        rows.insert(0, (line("data"), line(graph.value(f"{run.id}/data/name", run.file, "data", "name"))))
    rows += [_metric(evidence, run, key) for key in _scalars(run.file.at("metrics", default={}))]
    rows += _patients(evidence, run)
    blocks: list[Block] = [Table(line("Facts of the run:"), (line("fact"), line("value")), tuple(rows))]
    blocks += [table for table in (settings(evidence, run),) if table]
    blocks += [block for keys in _held_out(run) for block in _retrieval(evidence, run, keys)]
    folder = graph.derived(f"{run.id}/name", run.folder.name, "the folder's name", [run.file.source()])
    return Section(f"training/{run.id}", line(stage, ": ", folder), tuple(blocks))


def _scalars(metrics: Mapping[str, Any]) -> list[str]:
    return [key for key, value in metrics.items() if isinstance(value, int | float)]


def _metric(evidence: Evidence, run: Run, key: str) -> tuple[Line, Line]:
    name, _, part = key.partition("/")
    stage = "training" if name == "train" else name.replace("_", " ")
    words = _NAMES.get(key) or (f"{stage}, {metric_name(part)}" if part else metric_name(name))
    label = evidence.graph.derived(
        f"{run.id}/metrics/{key}/name", words, "the key in words", [run.file.source("metrics", key)]
    )
    return line(label), line(evidence.graph.value(f"{run.id}/metrics/{key}", run.file, "metrics", key))


def _hardware(evidence: Evidence, run: Run) -> Line:
    graph = evidence.graph
    cores = graph.value(f"{run.id}/cores", run.file, "hardware", "cores")
    gpus = [
        graph.value(f"{run.id}/gpus/{at}", run.file, "hardware", "gpus", at)
        for at in range(len(run.file.at("hardware", "gpus", default=[])))
    ]
    return line(cores, " CPU cores, GPUs: ", *(listed(gpus) or ("none",)))


def _patients(evidence: Evidence, run: Run) -> list[tuple[Line, Line]]:
    """How many persons trained and validated it, where the run's record counts them."""
    rows = []
    for part, words in (("train", "patients who trained it"), ("validation", "patients who validated it")):
        keys = ("notes", "trained_on", "patients", part)
        if run.file.at(*keys) is not None:
            rows.append(
                (line(words), line(evidence.graph.value(f"{run.id}/persons/{part}", run.file, *keys, unit="patients")))
            )
    return rows


def _held_out(run: Run) -> list[tuple[str, ...]]:
    """Keys down to the measures at hospitals that pretraining never saw."""
    if not run.stage.startswith("pretrain"):
        return []
    if run.file.at("metrics", "evaluation") is not None:
        names = run.file.at("config", "data", "test_hospitals", default=[])
        return [("metrics", "evaluation", name) for name in names if run.file.at("metrics", "evaluation", name)]
    return [("metrics", "held_out")] if run.file.at("metrics", "held_out") else []


def _retrieval(evidence: Evidence, run: Run, keys: Sequence[str]) -> list[Block]:
    """Loss and retrieval at hospitals left out."""
    graph, base = evidence.graph, f"{run.id}/{'/'.join(keys)}"
    measures = run.file.at(*keys)
    hospitals = run.file.at("config", "data", "test_hospitals", default=[])
    at = [hospitals.index(keys[-1])] if keys[-1] in hospitals else range(len(hospitals))
    names = [graph.value(f"{run.id}/held_out/{i}", run.file, "config", "data", "test_hospitals", i) for i in at]
    patients = graph.derived(
        f"{base}/patients",
        int(measures["patients"]),
        "as a whole number",
        [run.file.source(*keys, "patients")],
        unit="patients",
    )
    loss = graph.value(f"{base}/loss", run.file, *keys, "loss") if "loss" in measures else "–"
    blocks: list[Block] = [Paragraph(line("Held out, ", *listed(names), ": ", patients, " patients, loss ", loss, "."))]
    rows = []
    for key in measures:
        match = _RECALL.fullmatch(key)
        if match:
            source, target, k = match.groups()
            file, chance = run.file, f"{source}_to_{target}/chance@{k}"
            ends = [
                graph.derived(f"{base}/{key}/{part}", name, f"the {part} in the key", [file.source(*keys, key)])
                for part, name in (("source", source), ("target", target))
            ]
            values = [graph.value(f"{base}/{name}", file, *keys, name) for name in (key, chance)]
            rows.append(tuple(line(node) for node in (*ends, *values)))
    if rows:
        k = graph.derived(f"{base}/k", 5, "the number in the keys", [run.file.source(*keys)])
        caption = line("How often a patient's other modality is among the ", k, " nearest of those who have both:")
        head = tuple(map(line, ("from", "to", "recall", "chance")))
        blocks.append(Table(caption, head, tuple(rows), folded=True))
    return blocks
