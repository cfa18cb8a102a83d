"""Local, federated and pooled training side by side, as their own run records have it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.federation.report import charts
from foundation.federation.report.elements import Part, Section, Table, keys, unmeasured
from foundation.federation.report.elements import number as written
from foundation.federation.report.history import Numbers, Run, held_out, nearest, number, times_chance
from foundation.run_record import read_run

_COMMAND, _FEDERATED = "python -m ", ".federated"
_MEASURES = {"Loss (lower is better)": "loss", "Retrieval, times chance (higher is better)": "retrieval"}


@dataclass
class ComparedRun:
    """What a run says of itself.

    Attributes:
        folder: of it.
        kind: `federated`, `local: <hospital>` or `pooled`.
        record: `run.json`.
        places: by hospital, or several joined, what was evaluated there.
    """

    folder: Path
    kind: str
    record: dict[str, Any]
    places: dict[str, Numbers]

    @classmethod
    def of(cls, folder: Path, record: dict[str, Any], stage: str) -> "ComparedRun":
        """Read from its record, beside a federated run of a stage."""
        return cls(folder, _kind(record, stage), record, _places(record))


def comparison(run: Run, others: Sequence[Path]) -> Section | None:
    """A dot a run and place; None where no other run was given.

    Raises:
        UserError: if one is no folder, or holds no run.
    """
    for folder in others:
        if not folder.is_dir():
            raise UserError(f"others: {folder} is no folder; give the output folders of earlier runs")
    folders = [folder for folder in others if folder.resolve() != run.folder.resolve()]
    if not folders:
        return None
    records = {run.folder: run.record} | {folder: read_run(folder) for folder in folders}
    runs = [
        ComparedRun.of(folder, record, _stage(run.record).removesuffix(_FEDERATED))
        for folder, record in records.items()
    ]
    _name_apart(runs)
    parts = [_measure(runs, heading, name) for heading, name in _MEASURES.items()]
    return Section("Local, federated and pooled", [*parts, _facts(runs)], _notes(runs))


def _stage(record: dict[str, Any]) -> str:
    return str(record.get("command", "")).removeprefix(_COMMAND)


def _kind(record: dict[str, Any], stage: str) -> str:
    if _stage(record) == f"{stage}{_FEDERATED}":
        return "federated"
    trained = [name for name in (record.get("data") or {}).get("hospitals") or [] if name not in held_out(record)]
    if _stage(record) != stage or not trained:
        return _stage(record) or "unknown"
    return f"local: {trained[0]}" if len(trained) == 1 else "pooled"


def _name_apart(runs: Sequence[ComparedRun]) -> None:
    kinds = [one.kind for one in runs]
    for one in runs:
        if kinds.count(one.kind) > 1:
            one.kind = f"{one.kind} ({one.folder.name})"
    if len({one.kind for one in runs}) < len(runs):
        for one in runs:
            one.kind = f"{one.kind.partition(' (')[0]} ({one.folder})"


def _places(record: dict[str, Any]) -> dict[str, Numbers]:
    """Evaluation by hospital, and that of all held-out hospitals together under their joined names."""
    metrics = record.get("metrics") or {}
    places: dict[str, Numbers] = {
        str(site): numbers for site, numbers in (metrics.get("evaluation") or {}).items() if isinstance(numbers, dict)
    }
    outside = held_out(record)
    together = ", ".join(outside)
    if isinstance(metrics.get("held_out"), dict) and outside:
        places[together] = metrics["held_out"]
    elif len(outside) > 1 and all(site in places for site in outside):
        places[together] = {
            name: _weighted([places[site] for site in outside], name)
            for name in places[outside[0]]
            if name != "patients"
        }
    return places


def _weighted(parts: Sequence[Numbers], name: str) -> float | None:
    """Mean over hospitals by their patients."""
    pairs = [(number(part.get(name)), number(part.get("patients"))) for part in parts]
    known = [(value, weight) for value, weight in pairs if value is not None and weight]
    return sum(v * w for v, w in known) / sum(w for _, w in known) if len(known) == len(parts) else None


def _value(metrics: Numbers, name: str, k: int | None) -> float | None:
    return times_chance(metrics, k) if name == "retrieval" else number(metrics.get(name))


def _measure(runs: Sequence[ComparedRun], heading: str, name: str) -> Part:
    kinds = [one.kind for one in runs]
    k = nearest(metrics for one in runs for metrics in one.places.values())
    rows: dict[str, dict[str, float]] = {}
    for one in runs:
        for place, metrics in one.places.items():
            value = _value(metrics, name, k)
            if value is not None:
                rows.setdefault(place, {})[one.kind] = value
    rows = {place: row for place, row in rows.items() if len(row) > 1}
    if not rows:
        what = f"{heading.partition(' (')[0]} at a place that two runs share"
        return unmeasured(what, "no run.json of these runs", heading)
    table = Table(
        heading, ["place", *kinds], [[p, *(written(row.get(kind)) for kind in kinds)] for p, row in rows.items()]
    )
    picture = charts.dots(rows, kinds, "×" if name == "retrieval" else "", heading)
    return Part(heading, keys(kinds, "mark"), picture, table)


def _facts(runs: Sequence[ComparedRun]) -> Part:
    heads = ["run", "folder", "status", "seed", "data", "trained at", "seconds"]
    rows = []
    for one in runs:
        record, data = one.record, one.record.get("data") or {}
        trained = [name for name in data.get("hospitals") or [] if name not in held_out(record)]
        rows.append(
            [
                one.kind,
                str(one.folder),
                str(record.get("status", "–")),
                str(record.get("seed", "–")),
                str(data.get("digest", "–"))[:12],
                ", ".join(trained) or "–",
                written(number(record.get("seconds"))),
            ]
        )
    return Part("The runs", table=Table("As their run records have it", heads, rows, text=(1, 2, 4, 5)))


def _notes(runs: Sequence[ComparedRun]) -> list[str]:
    notes = ["Places are those that at least two of the runs evaluated; each number is of that run's own record."]
    if any(len(held_out(one.record)) > 1 and one.kind.startswith("federated") for one in runs):
        notes.append(
            "Held-out hospitals together: the federated number is the mean of the hospitals' own, by their patients; "
            "the others evaluate all of these patients at once."
        )
    if len({str((one.record.get("data") or {}).get("digest")) for one in runs}) > 1:
        notes.append(
            "These runs read different data (see the digests below): the differences are not of training alone."
        )
    return notes
