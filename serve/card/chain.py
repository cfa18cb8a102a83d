"""The chain of runs that a card tells of: from evaluations, and an export, down to the prepared cohort."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.run_record import Record, walk
from serve.card.graph import File, Graph

EVALUATION, FOLDS, RESULTS, PREDICTIONS = (
    "evaluation.json",
    "crossvalidation.json",
    "results.json",
    "predictions.parquet",
)
_WORDS = ("estimator", "interval", "reason", "split")  # of a figure
_TRAINS = ("pretrain", "pretrain.federated", "finetune", "finetune.federated")


@dataclass(frozen=True)
class Run:
    """A run of the chain.

    Attributes:
        folder: of its results.
        file: its record.
        stage: the command without `python -m`.
        id: of its nodes: `run/` and the end of its folder.
    """

    folder: Path
    file: File
    stage: str
    id: str

    @property
    def record(self) -> Any:
        """The record's content."""
        return self.file.content

    @property
    def trains(self) -> bool:
        """Whether weights came of it."""
        return self.stage in _TRAINS


@dataclass(frozen=True)
class Evaluation:
    """An evaluation, and what it rests on.

    Attributes:
        id: of its nodes.
        run: that evaluated.
        file: `evaluation.json`, or `crossvalidation.json`.
        results: `results.json`, where it was written.
        task: `task.json` of the task model; None where no run of the chain keeps one.
        chain: runs from this one down, nearest first.
        predictions: of every patient, a table; None where they were not kept.
    """

    id: str
    run: Run
    file: File
    results: File | None
    task: File | None
    chain: tuple[Run, ...]
    predictions: File | None = None

    @property
    def folds(self) -> bool:
        """Whether it is a cross-validation: models of several folds, each tested on patients that it did not see."""
        return self.file.path.name == FOLDS


@dataclass(frozen=True)
class Analysis:
    """A run that put a model, or its patients, to further use: a trial, groups of patients, biomarkers.

    Attributes:
        id: of its nodes: `analysis/` with its command and its folder.
        run: that analysed.
        results: `results.json`: `figures`, each with its id, value, interval, patients and estimator.
    """

    id: str
    run: Run
    results: File


@dataclass(frozen=True)
class Evidence:
    """All that a card may be built from.

    Attributes:
        graph: of its statements.
        evaluations: in the order in which they were named.
        runs: all runs, each once, nearest first.
        export: the run that made the bundle, where one was named.
        judgement: what people said, as a file of the graph; None where nobody did.
        analyses: in the order in which they were named.
    """

    graph: Graph
    evaluations: tuple[Evaluation, ...]
    runs: tuple[Run, ...]
    export: Run | None = None
    judgement: File | None = None
    analyses: tuple[Analysis, ...] = ()

    def stage(self, *names: str) -> list[Run]:
        """The runs of these commands."""
        return [run for run in self.runs if run.stage in names]


def gather(
    graph: Graph,
    folders: Sequence[Path],
    export: Path | None,
    judgement: File | None,
    further: Sequence[Path] = (),
) -> Evidence:
    """Reads evaluations, the export and all that they build on.

    Args:
        graph: that files are read into.
        folders: output folders of `finetune.evaluate`, `finetune.federated.evaluate` or `finetune.crossvalidate`.
        export: output folder of `serve.export`.
        judgement: what people said.
        further: output folders of runs that analysed the same patients or models, and left a `results.json`.

    Raises:
        UserError: if a record is missing, or was changed since a later run built on it.
    """
    runs: dict[Path, Run] = {}
    evaluations: list[Evaluation] = []
    for folder in folders:
        file = next((folder / name for name in (EVALUATION, FOLDS) if (folder / name).is_file()), None)
        if file is None:
            raise UserError(
                f"{folder}: no {EVALUATION}; give the output folder of python -m finetune.evaluate or crossvalidate"
            )
        chain = _chain(graph, folder, runs)
        results = folder / RESULTS
        kept = folder / PREDICTIONS if file.name == EVALUATION else None  # those of folds are estimates by themselves
        task = next((run.folder / "task.json" for run in chain if (run.folder / "task.json").is_file()), None)
        evaluations.append(
            Evaluation(
                f"result/{len(evaluations)}",
                chain[0],
                graph.read(file),
                graph.read(results) if results.is_file() else None,
                graph.read(task) if task else None,
                chain,
                graph.add(kept, None) if kept is not None and kept.is_file() else None,
            )
        )
    analyses = _analyses(graph, further, evaluations, runs)
    exported = _export(graph, export, evaluations, runs) if export else None
    return Evidence(graph, tuple(evaluations), tuple(runs.values()), exported, judgement, analyses)


def _chain(graph: Graph, folder: Path, runs: dict[Path, Run]) -> tuple[Run, ...]:
    records = walk(folder)
    for record in records:
        if record.file not in runs:
            runs[record.file] = _run(graph, record, {run.id for run in runs.values()})
    return tuple(runs[record.file] for record in records)


def _run(graph: Graph, record: Record, taken: set[str]) -> Run:
    folder, file = record.folder, graph.read(record.file)
    name = f"run/{folder.name}"
    names = [name, *(f"{name}~{number}" for number in range(2, len(taken) + 3))]
    stage = str(file.content["command"]).removeprefix("python -m ").split()[0]
    return Run(folder, file, stage, next(name for name in names if name not in taken))


def _analyses(
    graph: Graph, folders: Sequence[Path], evaluations: Sequence[Evaluation], runs: dict[Path, Run]
) -> tuple[Analysis, ...]:
    """Runs whose results join the card; each must build on something that an evaluation builds on."""
    known = {run.folder for evaluation in evaluations for run in evaluation.chain}
    made: dict[str, Analysis] = {}
    for folder in folders:
        path = folder / RESULTS
        if not path.is_file():
            advice = "give the output folder of python -m finetune.trial, finetune.stratification or alike"
            raise UserError(f"{folder}: no {RESULTS}; {advice}")
        chain = _chain(graph, folder, runs)
        if not known & {run.folder for run in chain}:
            raise UserError(f"{folder}: builds on no run that this card tells of; name an analysis of the same model")
        file, stem = graph.read(path), f"analysis/{chain[0].stage}:{chain[0].folder.name}"
        if not _has_figures(file):
            raise UserError(f"{path}: 'figures' is no list of figures with an id and a value; run that step again")
        numbered = (stem, *(f"{stem}~{number}" for number in range(2, len(made) + 3)))
        name = next(name for name in numbered if name not in made)
        made[name] = Analysis(name, chain[0], file)
    return tuple(made.values())


def _has_figures(file: File) -> bool:
    rows = file.at("figures")
    formed = isinstance(rows, list) and all(isinstance(row, dict) and {"id", "value"} <= row.keys() for row in rows)
    texts = all(isinstance(file.at(key, default=""), str) for key in ("title", "seen"))
    return formed and texts and all(map(_is_figure, rows)) and len({str(row["id"]) for row in rows}) == len(rows)


def _is_figure(row: dict[str, Any]) -> bool:
    """Whether what stands beside a figure is of the kind that a card prints."""
    kinds = dict.fromkeys(("value", "low", "high"), int | float) | dict.fromkeys(_WORDS, str) | {"n": int, "id": str}
    return all(row.get(key) is None or isinstance(row[key], kind) for key, kind in kinds.items())


def _export(graph: Graph, folder: Path, evaluations: Sequence[Evaluation], runs: dict[Path, Run]) -> Run:
    """The run that made the bundle, which must be of a model that was evaluated."""
    chain = _chain(graph, folder, runs)
    evaluated = {run.folder for evaluation in evaluations for run in evaluation.chain[1:]}
    if chain[0].stage != "serve.export" or len(chain) < 2 or chain[1].folder not in evaluated:
        raise UserError(f"{folder}: no export of a model evaluated here; give the output folder of its serve.export")
    return chain[0]
