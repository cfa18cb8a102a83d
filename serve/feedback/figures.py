"""Figures of answers whose outcome is known, by quarter of the answer: value, interval, or why there is none."""

from dataclasses import dataclass

import pandas as pd

from foundation.statistics.figure import Figure, Support
from foundation.statistics.grid import Grid
from foundation.statistics.probabilities import ProbabilityTable
from foundation.statistics.scores import ScoreTable
from foundation.statistics.table import Floats
from foundation.statistics.weights import poisson_weights

_REPLICATES, _KEY = 1000, "feedback"
_SUPPORT = Support()
ALL = "all"


@dataclass(frozen=True)
class Row:
    """Figures of one quarter and output.

    Attributes:
        quarter: of the answers; `all` for all of them.
        output: of the release.
        answered: patients, with or without outcome.
        figures: by measure.
    """

    quarter: str
    output: str
    answered: int
    figures: dict[str, Figure]


def by_quarter(judged: pd.DataFrame, asked: pd.DataFrame, outputs: list[str]) -> list[Row]:
    """Rows in order, all quarters together last.

    Args:
        judged: as `Store.judged` has them.
        asked: as `Store.asked` has them.
        outputs: of the release.
    """
    quarters = sorted(set(asked["quarter"]))
    rows = []
    for quarter in [*quarters, *([ALL] if len(quarters) > 1 else [])]:
        here, there = (table if quarter == ALL else table[table["quarter"] == quarter] for table in (judged, asked))
        for output in outputs:
            figures = figures_of(here[here["output"] == output])
            rows.append(Row(quarter, output, len(there), figures))
    return rows


def figures_of(rows: pd.DataFrame) -> dict[str, Figure]:
    """Of answers to one output."""
    label, chance = rows["value"].to_numpy(float), rows["chance"].to_numpy(float)
    weights = poisson_weights(rows["patient"].tolist(), _REPLICATES, _KEY)
    outcomes = {"without": int((label == 0).sum()), "with": int((label == 1).sum())}
    chances = ProbabilityTable.from_patients(label, chance, weights)
    values: dict[str, tuple[Floats, list[str] | None]] = {
        "AUROC": (ScoreTable.from_patients(label, chance, Grid.exact([0, 1, *chance]), weights).auroc(), None),
        "Brier score": (chances.brier(), []),
        "outcomes over chances": (chances.observed_to_expected(), []),
        "calibration error": (chances.ece(), []),
    }
    return {
        name: _SUPPORT.figure(numbers, len(rows), outcomes, name, needs=needs)
        for name, (numbers, needs) in values.items()
    }
