"""Failures by kind: test patients whom the model missed, called falsely, or got wrong while it was sure."""

from collections.abc import Mapping
from typing import Any

from foundation.statistics.suppression import HIDDEN, is_small
from serve.card.content.tables import Figures
from serve.card.document import Line, Table, line
from serve.card.predictions import read_predictions

_LEAST = 5  # patients that are told as a number, unless nobody stands behind a row
_SURE = 0.9  # from which chance on an answer is called sure
_KINDS = ("patients", "missed", "false alarms", "sure and wrong")
_RULES = {
    "patients": "number of test patients whose label is known",
    "missed": "number of them who have it, and whom the model says not to",
    "false alarms": "number of them who have it not, and of whom the model says so",
    "sure and wrong": f"number of the missed and false alarms whose answer had a chance of {_SURE} or more",
}


def failures(figures: Figures) -> Table | None:
    """Counts by output and by what the model was shown; None where no predictions were kept, or none can be wrong."""
    file = figures.evaluation.predictions
    if file is None:
        return None
    table = read_predictions(file.path)
    least = 1 if figures.evaluation.run.file.at("data", "synthetic") else _LEAST
    rows = []
    for (subset, output), part in table.groupby(["subset", "output"], sort=False):
        counts = kinds(part)
        if counts is None:
            continue
        base = f"{figures.evaluation.id}/failures/{subset}/{output}"
        names = [
            figures.graph.derived(f"{base}/{key}", value, "as the predictions name it", [file.source()])
            for key, value in (("subset", str(subset)), ("output", str(output)))
        ]
        cells: list[Line] = [line(names[0]), line(names[1])]
        for kind, hidden in zip(_KINDS, _hidden(counts, least), strict=True):
            if hidden:
                cells.append(line(HIDDEN))
                continue
            name = f"{base}/{kind}"
            node = figures.graph.derived(name, counts[kind], _RULES[kind], [file.source()], unit="patients")
            cells.append(line(node))
        rows.append(tuple(cells))
    caption = line("Failures by kind, from all that a patient has and from less:")
    head = tuple(map(line, ("modalities", "says whether", *_KINDS)))
    return Table(caption, head, tuple(rows), folded=len(rows) > 1) if rows else None


def _hidden(counts: Mapping[str, int], least: int) -> list[bool]:
    """Which counts are not told: those of a few patients, and with one of several failures the one it is part of."""
    small = {kind: is_small(counts[kind], least) for kind in _KINDS}
    missed, false_alarms, sure = _KINDS[1:]
    rest = counts[missed] + counts[false_alarms] - counts[sure]
    if is_small(rest, least) and not any(small.values()):  # wrong and not sure, by a difference of what is told
        small[sure] = True
    return [small[kind] for kind in _KINDS]


def kinds(rows: Any) -> Mapping[str, int] | None:
    """Counts of one output's predictions.

    Args:
        rows: `label`, `prediction` and `probability` of each patient; the label is missing where it is unknown.

    Returns:
        By kind how many patients; None where labels are no yes or no, or the model gives neither answer nor chance.
    """
    known = rows[rows["label"].notna()]
    says = known["prediction"]
    if not says.isin((0, 1)).all():  # a risk ranks patients, and only its chance says yes or no
        known = known[known["probability"].notna()]
        says = (known["probability"] >= 0.5).astype(float)
    if known.empty or not known["label"].isin((0, 1)).all():
        return None
    chance = known["probability"].where(says == 1, 1 - known["probability"])
    wrong = says != known["label"]
    counts = (len(known), (wrong & (says == 0)).sum(), (wrong & (says == 1)).sum(), (wrong & (chance >= _SURE)).sum())
    return dict(zip(_KINDS, map(int, counts), strict=True))
