"""Two models on the same patients: figures of both from the predictions kept, and the difference."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundation.statistics.comparison import Difference, paired_bootstrap
from foundation.statistics.figure import Support
from foundation.statistics.grid import Grid
from foundation.statistics.scores import ScoreTable
from foundation.statistics.table import Floats
from foundation.statistics.weights import poisson_weights
from serve.card.predictions import read_predictions

_REPLICATES, _KEY = 1000, "card diff"
_KEYS = ["patient", "output"]
Measure = Callable[[Floats, Floats, Any], Floats]


@dataclass(frozen=True)
class Pair:
    """One measure of both models on the patients whom both answered.

    Attributes:
        output: of the models.
        measure: in words; of errors, less is better.
        n: patients.
        before, after: of either model.
        difference: the later model's less the earlier one's.
        replicates: of the difference, `[replicates]`, row 0 the patients as they are; the same draws in every pair.
    """

    output: str
    measure: str
    n: int
    before: float
    after: float
    difference: Difference
    replicates: Floats = field(repr=False, compare=False)


def pairs(before: Path, after: Path) -> tuple[list[Pair], str]:
    """Measures of two `predictions.parquet` on their common test patients, and in words who was left out.

    A patient whose label differs between the two is left out: it would compare labels, not models.
    """
    part, words = matched(before, after)
    rows = [pair for output, rows in part.groupby("output", sort=False) for pair in measures(str(output), rows)]
    return rows, words


def matched(before: Path, after: Path) -> tuple[pd.DataFrame, str]:
    """Answers of both to the same patients with the same label, `_before` and `_after`, and who was left out."""
    one, two = (_answers(path) for path in (before, after))
    both = one.merge(two, on=_KEYS, suffixes=("_before", "_after"))
    same = both[both["label_before"] == both["label_after"]].rename(columns={"label_before": "label"})
    lone = len(set(one["patient"]) ^ set(two["patient"]))
    relabelled = len(set(both["patient"]) - set(same["patient"]))
    words = f"{lone} test patients stand in one of the two alone, and {relabelled} have another label or none"
    return same, words


def _answers(path: Path) -> pd.DataFrame:
    table = read_predictions(path)
    kept = (table["subset"] == "all") & table["prediction"].notna()
    return table[kept].drop(columns=["split", "subset"])


def measures(output: str, part: pd.DataFrame) -> Iterator[Pair]:
    """Those that the predictions allow: ranking and chance of a yes or no, else the error of a quantity."""
    binary = bool(part["label"].isin((0, 1)).all())
    chances = bool(part[["probability_before", "probability_after"]].notna().all(axis=None))
    kinds: list[tuple[str, str, Measure]] = [("mean absolute error", "prediction", _absolute)]
    if binary:
        kinds = [("AUROC, Mann–Whitney, ties half", "probability" if chances else "prediction", _auroc)]
        kinds += [("Brier score", "probability", _squared)] if chances else []
    support = Support()
    outcomes = {"without": int((part["label"] == 0).sum()), "with": int((part["label"] == 1).sum())} if binary else {}
    if support.lack(len(part), outcomes) is not None:
        return
    weights = poisson_weights(part["patient"].tolist(), _REPLICATES, _KEY)
    label = part["label"].to_numpy(dtype=np.float64)
    for words, column, measure in kinds:
        first, second = (
            measure(label, part[f"{column}_{side}"].to_numpy(dtype=np.float64), weights) for side in ("before", "after")
        )
        gain = paired_bootstrap(second, first, support.defined)
        yield Pair(output, words, len(part), float(first[0]), float(second[0]), gain, second - first)


def _auroc(label: Floats, score: Floats, weights: Any) -> Floats:
    return ScoreTable.from_patients(label, score, Grid.exact(score), weights).auroc()


def _squared(label: Floats, chance: Floats, weights: Any) -> Floats:
    return _mean((chance - label) ** 2, weights)


def _absolute(label: Floats, value: Floats, weights: Any) -> Floats:
    return _mean(np.abs(value - label), weights)


def _mean(errors: Floats, weights: Any) -> Floats:
    return np.asarray((weights @ errors) / weights.sum(axis=1))
