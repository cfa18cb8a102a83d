"""Predicted survival at horizons against what happened: Brier scores, observed to expected, D-calibration."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import UserError
from foundation.statistics.grid import Grid
from foundation.statistics.survival import ChiSquared, SurvivalTable, on_times
from foundation.statistics.table import Floats, Integers, Table, columns, counted, once, ratio, summed


@dataclass(frozen=True, eq=False)
class HorizonTable(Table):
    """Patients by event and time, and sums of their predicted survival at each horizon.

    Attributes:
        times: the grid; a horizon between two of its times sees events up to the one before it.
        horizons: days, ascending.
        counts: `[replicates, 2, times]`, censored first.
        sums: of predicted survival and of its square, `[replicates, 2, horizons, 2, times]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts", "sums")
    times: Grid
    horizons: tuple[float, ...]
    counts: Integers
    sums: Floats

    @classmethod
    def empty(cls, times: Grid, horizons: tuple[float, ...], replicates: int = 0) -> "HorizonTable":
        rows, cells = 1 + replicates, len(times)
        counts = np.zeros((rows, 2, cells), dtype=np.int64)
        return cls(times, horizons, counts, np.zeros((rows, 2, len(horizons), 2, cells)))

    @classmethod
    def from_patients(
        cls,
        event: ArrayLike,
        time: ArrayLike,
        survival: ArrayLike,
        times: Grid,
        horizons: tuple[float, ...],
        weights: ArrayLike | None = None,
    ) -> "HorizonTable":
        """Of events (1 seen, 0 censored), times, and predicted survival `[patients, horizons]`."""
        survival = np.asarray(survival, dtype=np.float64)
        event, time, survival = columns(len(survival), event=event, time=time, survival=survival)
        if survival.ndim != 2 or survival.shape[1] != len(horizons):
            raise UserError(f"statistics: survival has shape {survival.shape}, expected [patients, {len(horizons)}]")
        seen, at = on_times(event, time, times)
        cells = seen * len(times) + at
        rows = once(weights, len(event))
        values = rows[:, None, None] * np.stack([survival.T, survival.T**2])
        return cls(
            times,
            horizons,
            counted(cells, 2 * len(times), rows).reshape(len(rows), 2, len(times)),
            summed(cells, 2 * len(times), values).reshape(len(rows), 2, len(horizons), 2, len(times)),
        )

    def outcomes(self) -> Integers:
        """Censored and events: `[replicates, 2]`."""
        return np.asarray(self.counts.sum(axis=2))

    def survival(self) -> SurvivalTable:
        """The same patients without their scores."""
        return SurvivalTable(self.times, Grid(np.zeros(1)), self.counts[..., None])

    def brier(self) -> Floats:
        """Squared error of predicted survival, weighed for censoring, at each horizon: `[replicates, horizons]`.

        Graf et al. 1999: events by the horizon weigh 1 / G(t-), those followed beyond it 1 / G(horizon); G is the
        Kaplan–Meier curve of censoring of these patients.
        """
        plain, square = self.sums[:, 0], self.sums[:, 1]
        return self._weighed(
            square[:, :, 1], self.counts.sum(axis=1)[:, None] - 2 * plain.sum(axis=2) + square.sum(axis=2)
        )

    def brier_of_kaplan_meier(self) -> Floats:
        """The same of a prediction that tells nobody apart: the survival curve of these patients."""
        cells = [self.times.up_to(horizon) for horizon in self.horizons]
        curve = np.pad(self.survival().kaplan_meier().value, ((0, 0), (1, 0)), constant_values=1.0)[:, cells]
        events, everybody = self.counts[:, None, 1], self.counts.sum(axis=1)[:, None]
        return self._weighed(curve[..., None] ** 2 * events, (1 - curve[..., None]) ** 2 * everybody)

    def integrated_brier(self) -> Floats:
        """Mean of the Brier score from the first to the last horizon, by the trapezium rule: `[replicates]`."""
        brier = self.brier()
        if len(self.horizons) == 1:
            return brier[:, 0]
        return np.asarray(np.trapezoid(brier, self.horizons, axis=1) / (self.horizons[-1] - self.horizons[0]))

    def observed_to_expected(self) -> Floats:
        """Events by each horizon, by Kaplan–Meier, over those predicted: `[replicates, horizons]`."""
        table, patients = self.survival(), self.counts.sum(axis=(1, 2))
        observed = np.stack([patients * (1 - table.survival_at(horizon)) for horizon in self.horizons], axis=1)
        return ratio(observed, patients[:, None] - self.sums[:, 0].sum(axis=(2, 3)))

    def _weighed(self, of_events: Floats, of_followed: Floats) -> Floats:
        """Errors by horizon and time, `[replicates, horizons, times]`, of events and of all, weighed and averaged."""
        curve = np.pad(self.survival().censoring(), ((0, 0), (1, 0)), constant_values=1.0)
        total = []
        for place, horizon in enumerate(self.horizons):
            cell = self.times.up_to(horizon)
            cases = np.nan_to_num(ratio(of_events[:, place, :cell], curve[:, :cell])).sum(axis=1)
            followed = of_followed[:, place, cell:].sum(axis=1)
            total.append(cases + np.where(followed > 0, ratio(followed, curve[:, cell]), 0.0))
        return ratio(np.stack(total, axis=1), self.counts.sum(axis=(1, 2))[:, None])


@dataclass(frozen=True, eq=False)
class DCalibrationTable(Table):
    """Patients by bin of the survival probability predicted for their own time; a censored one counts in parts.

    Attributes:
        counts: patients and events, `[replicates, 2]`.
        sums: `[replicates, bins]`, from probability 0 to 1.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts", "sums")
    counts: Integers
    sums: Floats

    @classmethod
    def empty(cls, bins: int = 10, replicates: int = 0) -> "DCalibrationTable":
        return cls(np.zeros((1 + replicates, 2), dtype=np.int64), np.zeros((1 + replicates, bins)))

    @classmethod
    def from_patients(
        cls, event: ArrayLike, survival: ArrayLike, weights: ArrayLike | None = None, bins: int = 10
    ) -> "DCalibrationTable":
        """Of events (1 seen, 0 censored) and the survival predicted for each patient's own time, `[patients]` each."""
        event, survival = columns(len(np.asarray(event)), event=event, survival=survival)
        rows = once(weights, len(event))
        edges = np.arange(bins) / bins
        seen = event == 1
        cell = np.minimum((survival * bins).astype(np.int64), bins - 1)
        parts = np.eye(bins)[cell]
        # A censored patient's probability at the event lies evenly below that at censoring (Haider et al. 2020).
        reach = np.maximum(survival, np.finfo(float).tiny)[:, None]
        spread = np.clip(survival[:, None] - edges, 0, 1 / bins) / reach
        parts = np.where(seen[:, None] | (survival == 0)[:, None], parts, spread)
        return cls(np.stack([rows.sum(axis=1), rows @ seen.astype(np.int64)], axis=1), rows @ parts)

    def outcomes(self) -> Integers:
        """Censored and events: `[replicates, 2]`."""
        return np.stack([self.counts[:, 0] - self.counts[:, 1], self.counts[:, 1]], axis=1)

    def shares(self) -> Floats:
        """Share of patients in each bin, ideally all equal: `[replicates, bins]`."""
        return ratio(self.sums, self.counts[:, :1])

    def test(self) -> ChiSquared:
        """Pearson's test of equal shares (Haider et al. 2020)."""
        expected = self.counts[:, :1] / self.sums.shape[1]
        statistic = ratio((self.sums - expected) ** 2, expected).sum(axis=1)
        return ChiSquared(np.asarray(statistic), self.sums.shape[1] - 1)
