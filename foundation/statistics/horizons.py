"""Predicted survival at horizons against what happened: Brier scores, observed to expected, D-calibration."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from foundation.statistics.followup import PredictionTable
from foundation.statistics.grid import Grid
from foundation.statistics.survival import ChiSquared, SurvivalTable, on_times
from foundation.statistics.table import Floats, Integers, Table, columns, once, ratio


@dataclass(frozen=True, eq=False)
class HorizonTable(PredictionTable):
    """Patients by event and time, and sums of their predicted survival at each horizon."""

    ends: ClassVar[int] = 2
    end: ClassVar[str] = "event"
    prediction: ClassVar[str] = "survival"

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
        event, time, survival = cls._checked(event, time, survival, horizons)
        seen, at = on_times(event, time, times)
        return cls._of(seen * len(times) + at, survival, times, horizons, weights)

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
            self.survival().censoring(),
            square[:, :, 1],
            self.counts.sum(axis=1)[:, None] - 2 * plain.sum(axis=2) + square.sum(axis=2),
        )

    def brier_of_kaplan_meier(self) -> Floats:
        """The same of a prediction that tells nobody apart: the survival curve of these patients."""
        cells = [self.times.up_to(horizon) for horizon in self.horizons]
        curve = np.pad(self.survival().kaplan_meier().value, ((0, 0), (1, 0)), constant_values=1.0)[:, cells]
        events, everybody = self.counts[:, None, 1], self.counts.sum(axis=1)[:, None]
        return self._weighed(
            self.survival().censoring(), curve[..., None] ** 2 * events, (1 - curve[..., None]) ** 2 * everybody
        )

    def observed_to_expected(self) -> Floats:
        """Events by each horizon, by Kaplan–Meier, over those predicted: `[replicates, horizons]`."""
        table, patients = self.survival(), self.counts.sum(axis=(1, 2))
        observed = np.stack([patients * (1 - table.survival_at(horizon)) for horizon in self.horizons], axis=1)
        return ratio(observed, patients[:, None] - self.sums[:, 0].sum(axis=(2, 3)))


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
        return cls(np.stack([rows.sum(axis=1, dtype=np.int64), rows @ seen.astype(np.int64)], axis=1), rows @ parts)

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
