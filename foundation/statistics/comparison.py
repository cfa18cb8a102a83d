"""Paired comparison of two models on the same patients; Holm's correction and joint intervals for many of them."""

import math
from collections.abc import Mapping, Sequence
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


def simultaneous(gaps: Sequence[Floats], defined: float = 0.8) -> list[tuple[float, float] | None]:
    """Intervals that hold all at once at 95 %: value plus and minus standard errors, as many for every figure.

    How many is the 95 % point, over replicates, of the largest studentised deviation of any figure from its value, so
    that figures that move together are not counted twice (Beran 1988, Balanced simultaneous confidence sets; Romano &
    Wolf 2005). Of equal models, some interval of the family lies wholly on one side of zero with chance 0.05, whatever
    the size of the family; one figure by itself has about the interval that it would have alone.

    Args:
        gaps: by figure, `[replicates]`, row 0 the patients as they are; all of the same draws.
        defined: least share of the replicates in which a figure is defined, else it has no interval.

    Returns:
        Low and high of each, None where a figure has none.
    """
    if not gaps:
        return []
    table = np.stack([np.asarray(one, dtype=np.float64) for one in gaps])
    finite = np.isfinite(table)
    usable = finite[:, 0] & finite[:, 1:].any(axis=1) & (finite[:, 1:].mean(axis=1) >= defined)
    drawn = np.where(finite[:, 1:], table[:, 1:], np.nan)[usable]
    errors = np.nanstd(drawn, axis=1, ddof=1) if len(drawn) else np.zeros(0)
    moving = errors > 0
    distance = np.abs(drawn[moving] - table[usable, :1][moving]) / errors[moving, None]
    largest = np.nanmax(distance, axis=0, initial=0.0)
    reach = dict(zip(np.flatnonzero(usable).tolist(), np.quantile(largest, 0.95) * errors, strict=True))
    values = table[:, 0].tolist()
    return [(value - reach[row], value + reach[row]) if row in reach else None for row, value in enumerate(values)]


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
