"""Patients by how their follow-up ended and when: what survival has in common with several causes."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UserError
from foundation.statistics.grid import Grid
from foundation.statistics.table import Floats, Integers, Table, columns, counted, once, ratio, summed


@dataclass(frozen=True, eq=False)
class ScoreTable(Table):
    """Patients by how their follow-up ended, time and score.

    Events at a time come before the censorings at it. Follow-up past the last grid time is censored there.

    Attributes:
        ends: how follow-up can end, censored first.
        times: the grid; rounded up, so that what happened up to a grid time is exact.
        scores: the grid.
        counts: `[replicates, ends, times, scores]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts",)
    ends: ClassVar[int]
    times: Grid
    scores: Grid
    counts: Integers

    @classmethod
    def empty(cls, times: Grid, scores: Grid, replicates: int = 0) -> Self:
        """Of nobody."""
        return cls(times, scores, np.zeros((1 + replicates, cls.ends, len(times), len(scores)), dtype=np.int64))

    @classmethod
    def _of(cls, cells: Integers, score: Floats, times: Grid, scores: Grid, weights: ArrayLike | None) -> Self:
        """Of cells of end and time, and scores, `[patients]` each."""
        counts = counted(
            cells * len(scores) + scores.index(score), cls.ends * len(times) * len(scores), once(weights, len(cells))
        )
        return cls(times, scores, counts.reshape(len(counts), cls.ends, len(times), len(scores)))

    def outcomes(self) -> Integers:
        """How many follow-ups ended how: `[replicates, ends]`."""
        return np.asarray(self.counts.sum(axis=(2, 3)))

    def occupied(self) -> Self:
        """The same patients on those times and scores alone that anybody has.

        Whatever goes by the order of times and scores is as on the whole grid, of which few patients leave most empty.
        """
        cells: NDArray[np.bool_] = np.asarray(self.counts.any(axis=(0, 1)))
        times, scores = (np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0))
        if not len(times):
            times = scores = np.zeros(1, dtype=np.int64)
        counts = self.counts.take(scores, axis=3).take(times, axis=2)
        return type(self)(_part(self.times, times), _part(self.scores, scores), counts)

    def by_group(self, cuts: ArrayLike) -> Self:
        """Risk groups 0, 1, ...: scores below the first cut, from it to below the next, and so on."""
        group = np.searchsorted(np.asarray(cuts, dtype=np.float64), self.scores.values, side="right")
        groups = np.arange(len(np.asarray(cuts)) + 1)
        onto = (group[:, None] == groups).astype(np.int64)
        return type(self)(self.times, Grid(groups.astype(np.float64)), self.counts @ onto)

    def group(self, cell: int) -> Self:
        """The patients of one score, arm or group alone."""
        return type(self)(self.times, Grid(self.scores.values[[cell]]), self.counts[..., cell : cell + 1])


def _part(grid: Grid, cells: Integers) -> Grid:
    return Grid(grid.values[cells], grid.rounding)


@dataclass(frozen=True, eq=False)
class PredictionTable(Table):
    """Patients by how their follow-up ended and when, and sums of what was predicted for them at each horizon.

    Attributes:
        ends: how follow-up can end, censored first.
        end: what a refusal calls the column of ends.
        prediction: and that of predictions.
        times: the grid; a horizon between two of its times sees events up to the one before it.
        horizons: days, ascending.
        counts: `[replicates, ends, times]`.
        sums: of the prediction and of its square, `[replicates, 2, horizons, ends, times]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts", "sums")
    ends: ClassVar[int]
    end: ClassVar[str]
    prediction: ClassVar[str]
    times: Grid
    horizons: tuple[float, ...]
    counts: Integers
    sums: Floats

    @classmethod
    def empty(cls, times: Grid, horizons: tuple[float, ...], replicates: int = 0) -> Self:
        """Of nobody."""
        rows, shape = 1 + replicates, (cls.ends, len(times))
        counts = np.zeros((rows, *shape), dtype=np.int64)
        return cls(times, horizons, counts, np.zeros((rows, 2, len(horizons), *shape)))

    @classmethod
    def _checked(
        cls, end: ArrayLike, time: ArrayLike, prediction: ArrayLike, horizons: tuple[float, ...]
    ) -> list[Floats]:
        """Ends and times `[patients]`, predictions `[patients, horizons]`, as float64."""
        values = np.asarray(prediction, dtype=np.float64)
        end, time, values = columns(len(values), **{cls.end: end, "time": time, cls.prediction: values})
        if values.ndim != 2 or values.shape[1] != len(horizons):
            expected = f"[patients, {len(horizons)}]"
            raise UserError(f"statistics: {cls.prediction} has shape {values.shape}, expected {expected}")
        return [end, time, values]

    @classmethod
    def _of(
        cls, cells: Integers, prediction: Floats, times: Grid, horizons: tuple[float, ...], weights: ArrayLike | None
    ) -> Self:
        """Of cells of end and time `[patients]`, and predictions `[patients, horizons]`."""
        rows, size = once(weights, len(cells)), cls.ends * len(times)
        values = rows[:, None, None] * np.stack([prediction.T, prediction.T**2])
        return cls(
            times,
            horizons,
            counted(cells, size, rows).reshape(len(rows), cls.ends, len(times)),
            summed(cells, size, values).reshape(len(rows), 2, len(horizons), cls.ends, len(times)),
        )

    def brier(self) -> Floats:
        """Squared error of the prediction, weighed for censoring, at each horizon: `[replicates, horizons]`."""
        raise NotImplementedError

    def integrated_brier(self) -> Floats:
        """Mean of the Brier score from the first to the last horizon, by the trapezium rule: `[replicates]`."""
        brier = self.brier()
        if len(self.horizons) == 1:
            return brier[:, 0]
        return np.asarray(np.trapezoid(brier, self.horizons, axis=1) / (self.horizons[-1] - self.horizons[0]))

    def _weighed(self, censoring: Floats, of_events: Floats, of_followed: Floats) -> Floats:
        """Errors by horizon and time, `[replicates, horizons, times]`, of events and of all, weighed and averaged.

        Args:
            censoring: chance not to have been censored by each grid time, `[replicates, times]`.
            of_events: errors of those who had one by the horizon.
            of_followed: of those followed beyond it.
        """
        curve = np.pad(censoring, ((0, 0), (1, 0)), constant_values=1.0)
        total = []
        for place, horizon in enumerate(self.horizons):
            cell = self.times.up_to(horizon)
            events = np.nan_to_num(ratio(of_events[:, place, :cell], curve[:, :cell])).sum(axis=1)
            followed = of_followed[:, place, cell:].sum(axis=1)
            total.append(events + np.where(followed > 0, ratio(followed, curve[:, cell]), 0.0))
        return ratio(np.stack(total, axis=1), self.counts.sum(axis=(1, 2))[:, None])
