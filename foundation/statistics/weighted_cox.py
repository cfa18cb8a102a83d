"""The hazard ratio between two arms of weighted patients and its robust error, from one table that hospitals add.

Shu, Yoshida, Fireman and Toh 2020 (Statistical Methods in Medical Research, 10.1177/0962280219869742): the risk sets of
a Cox regression on the arm, and the sum of squares of its residuals, hold patients through sums of weights and of their
squares alone: by arm, over those who have the event and those at risk, at each time of an event. The table holds these
eight columns as those who leave at each time; sums over later times are who is at risk.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import UserError
from foundation.statistics.grid import Grid
from foundation.statistics.survival import on_times
from foundation.statistics.table import Floats, Integers, Table, columns, ratio, summed

_STEPS = 100
_FURTHEST = 20.0  # of a log hazard ratio: the likelihood has no greatest value before


class HazardRatio(NamedTuple):
    """A log hazard ratio of the treated against the others.

    Attributes:
        value: NaN where an arm has nobody, or no event that weighs, and where the likelihood is monotone (Heinze and
            Schemper 2001): one arm has all its events after everybody of the other has left, and it grows without end.
        error: robust against what the weights do (Lin & Wei 1989; Binder 1992), the weights taken as known.
        model_error: of the inverse information.
    """

    value: float
    error: float
    model_error: float


@dataclass(frozen=True, eq=False)
class WeightedRiskTable(Table):
    """Weights by arm (others first) and time cell, of patients who leave there.

    Attributes:
        times: the grid.
        events: sums of weights of those with the event, `[1, 2, times]`.
        censored: the same of the others.
        squared_events, squared_censored: sums of squared weights, likewise.
        counts: patients with the event, `[1, 2, times]`; what ties are told by.
        patients: `[1, 2]`.
    """

    summed: ClassVar[tuple[str, ...]] = (
        "events", "censored", "squared_events", "squared_censored", "counts", "patients",
    )  # fmt: skip
    times: Grid
    events: Floats
    censored: Floats
    squared_events: Floats
    squared_censored: Floats
    counts: Integers
    patients: Integers

    @classmethod
    def empty(cls, times: Grid) -> "WeightedRiskTable":
        shape = (1, 2, len(times))
        counts, patients = np.zeros(shape, dtype=np.int64), np.zeros((1, 2), dtype=np.int64)
        return cls(times, np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape), counts, patients)

    @classmethod
    def from_patients(
        cls, event: ArrayLike, time: ArrayLike, arm: ArrayLike, weights: ArrayLike, times: Grid
    ) -> "WeightedRiskTable":
        """Of events (1 seen, 0 censored), times, arms (1 treated, 0 not) and weights, `[patients]` each.

        Raises:
            UserError: if an arm is neither, or a weight is negative.
        """
        event, time, arm, weights = columns(len(np.asarray(event)), event=event, time=time, arm=arm, weights=weights)
        if not np.isin(arm, (0, 1)).all() or (weights < 0).any():
            raise UserError("weighted hazard ratio: arms must be 1 or 0, and no weight negative")
        seen, at = on_times(event, time, times)
        cells = arm.astype(np.int64) * len(times) + at
        rows = [weights * seen, weights * (1 - seen), weights**2 * seen, weights**2 * (1 - seen), seen]
        sums = summed(cells, 2 * len(times), np.stack(rows)).reshape(5, 1, 2, len(times))
        patients = np.bincount(arm.astype(np.int64), minlength=2)[None]
        counts = np.rint(sums[4]).astype(np.int64)
        return cls(times, sums[0], sums[1], sums[2], sums[3], counts, patients.astype(np.int64))

    def effective(self) -> Floats:
        """Effective sample size by arm, others first (Kish 1965): `[2]`; NaN where nobody is."""
        total = (self.events + self.censored).sum(axis=2)[0]
        squares = (self.squared_events + self.squared_censored).sum(axis=2)[0]
        return ratio(total**2, squares)

    def hazard_ratio(self) -> HazardRatio:
        """By Cox's partial likelihood, weighted; ties by Efron, each of the tied with their mean weight."""
        undefined = HazardRatio(math.nan, math.nan, math.nan)
        if not (self.events[0].sum(axis=1) > 0).all():
            return undefined
        low, high, theta = -_FURTHEST, _FURTHEST, 0.0
        for _ in range(_STEPS):
            steps = self._steps(theta)
            gradient, information = steps.gradient(self), steps.information
            low, high = (theta, high) if gradient > 0 else (low, theta)
            following = theta + gradient / information if information > 0 else math.inf
            following = following if low < following < high else (low + high) / 2
            done = abs(following - theta) < 1e-13 * max(1.0, abs(theta))
            theta = following
            if done:
                break
        steps = self._steps(theta)
        if abs(theta) > _FURTHEST - 1 or not steps.information > 0:
            return undefined
        return HazardRatio(theta, math.sqrt(steps.squares(self)) / steps.information, 1 / math.sqrt(steps.information))

    def _steps(self, theta: float) -> "_Steps":
        """The terms of every event, one after another; `[events]` each."""
        leaving = self.events[0] + self.censored[0]
        at_risk = np.cumsum(leaving[:, ::-1], axis=1)[:, ::-1]
        tied = self.counts[0].sum(axis=0)
        cell = np.repeat(np.arange(len(tied)), tied)
        first = np.concatenate([[0], np.cumsum(tied)[:-1]])
        share = (np.arange(len(cell)) - first[cell]) / tied[cell]  # of the tied who have left, in Efron's way
        treated = math.exp(theta) * (at_risk[1, cell] - share * self.events[0, 1, cell])
        both = treated + at_risk[0, cell] - share * self.events[0, 0, cell]
        both = np.where(both > 0, both, 1.0)  # where nobody at risk weighs anything, all that is divided by it is 0
        weight = self.events[0].sum(axis=0)[cell] / tied[cell]
        return _Steps(theta, cell, share, weight, treated / both, both)


class _Steps(NamedTuple):
    """What each event in turn adds to likelihood and residuals.

    Attributes:
        theta: the log hazard ratio.
        cell: of time.
        share: of those tied with it who have left before.
        weight: mean of the tied.
        chance: that it is a treated patient's.
        both: weighed hazard of all at risk.
    """

    theta: float
    cell: Integers
    share: Floats
    weight: Floats
    chance: Floats
    both: Floats

    def gradient(self, table: WeightedRiskTable) -> float:
        return float(table.events[0, 1].sum() - (self.weight * self.chance).sum())

    @property
    def information(self) -> float:
        return float((self.weight * self.chance * (1 - self.chance)).sum())

    def squares(self, table: WeightedRiskTable) -> float:
        """Sum of squared residuals, each times its patient's weight."""
        cells, total = len(table.times), 0.0
        tied = np.maximum(table.counts[0].sum(axis=0), 1)
        mean = np.bincount(self.cell, self.chance, cells) / tied
        for arm in (0, 1):
            hazard = self.weight / self.both * math.exp(self.theta * arm) * (arm - self.chance)
            past = np.cumsum(np.bincount(self.cell, hazard, cells))
            before = np.concatenate([[0.0], past[:-1]])
            dying = np.bincount(self.cell, hazard * (1 - self.share), cells)
            total += float((table.squared_censored[0, arm] * past**2).sum())
            total += float((table.squared_events[0, arm] * (arm - mean - before - dying) ** 2).sum())
        return total
