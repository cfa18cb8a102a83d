"""Paired comparison of two models on the same patients, and Holm's correction for many of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foundation.statistics.figure import percentiles
from foundation.statistics.scores import PairedScoreTable
from foundation.statistics.table import Floats

_Z = 1.959963984540054  # of the normal 97.5 % point


@dataclass(frozen=True)
class Difference:
    """One model's figure less another's.

    Attributes:
        value: None, as all of it, where one of them is not defined.
        low, high: 95 % interval.
        p: two-sided, of no difference.
        test: what gave interval and p.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    test: str


def paired_bootstrap(first: Floats, second: Floats, defined: float = 0.8) -> Difference:
    """Of a figure of both models on the same replicates, `[replicates]` each.

    p is twice the smaller share of replicates on either side of zero, a tie on both (Davison & Hinkley 1997, ch. 4.2),
    and never below what the number of replicates can tell.
    """
    test = "paired bootstrap over patients, percentile"
    gaps = np.asarray(first) - np.asarray(second)
    drawn = gaps[1:][np.isfinite(gaps[1:])]
    if not np.isfinite(gaps[0]) or not len(drawn) or len(drawn) < defined * (len(gaps) - 1):
        return Difference(float(gaps[0]) if np.isfinite(gaps[0]) else None, None, None, None, test)
    sides = [(1 + int((drawn <= 0).sum())) / (1 + len(drawn)), (1 + int((drawn >= 0).sum())) / (1 + len(drawn))]
    low, high = percentiles(drawn)
    return Difference(float(gaps[0]), low, high, min(1.0, 2 * min(sides)), test)


def paired_delong(table: PairedScoreTable) -> Difference:
    """Of two AUROCs on the same patients: exact variance, normal test (DeLong, DeLong & Clarke-Pearson 1988)."""
    test = "DeLong, paired"
    first, second = table.margins()
    gap, variance = float((first.auroc() - second.auroc())[0]), float(table.difference_variance()[0])
    if not math.isfinite(gap) or not math.isfinite(variance):
        return Difference(gap if math.isfinite(gap) else None, None, None, None, test)
    error = math.sqrt(variance)
    p = two_sided(gap / error) if error > 0 else float(gap == 0)
    return Difference(gap, gap - _Z * error, gap + _Z * error, p, test)


def two_sided(z: float) -> float:
    """Chance of a normal number at least as far from zero."""
    return math.erfc(abs(z) / math.sqrt(2))


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Each p adjusted for their number: the chance of any false finding stays below the level (Holm 1979)."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(values, key=lambda key: values[key])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in values}
