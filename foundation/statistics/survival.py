"""Events and censorings by time and score (or arm): curves, areas under them and tests between them."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from foundation.statistics.followup import ScoreTable
from foundation.statistics.grid import Grid
from foundation.statistics.table import Floats, Integers, columns, ratio


class Curve(NamedTuple):
    """A function of time that jumps at grid times, `[replicates, times]` each.

    Attributes:
        value: at each grid time, jump included.
        variance: Greenwood's of survival (Greenwood 1926), Aalen's of the cumulative hazard (Aalen 1978).
        at_risk: patients just before it.
        events: at it.
    """

    value: Floats
    variance: Floats
    at_risk: Integers
    events: Integers


class ChiSquared(NamedTuple):
    """A statistic that is chi-squared under no difference, `[replicates]`, and its degrees of freedom."""

    statistic: Floats
    freedom: int

    def p(self) -> Floats:
        """Chance of so large a statistic under no difference: `[replicates]`."""
        from scipy.special import chdtrc  # here alone, so that adding tables needs numpy only

        return (
            np.asarray(chdtrc(self.freedom, self.statistic)) if self.freedom else np.full(len(self.statistic), np.nan)
        )


@dataclass(frozen=True, eq=False)
class SurvivalTable(ScoreTable):
    """Patients by event, time and score, a higher one meaning a higher risk; arms as 0, 1, ... do as well."""

    ends: ClassVar[int] = 2

    @classmethod
    def from_patients(
        cls,
        event: ArrayLike,
        time: ArrayLike,
        score: ArrayLike,
        times: Grid,
        scores: Grid,
        weights: ArrayLike | None = None,
    ) -> "SurvivalTable":
        """Of events (1 seen, 0 censored), times and scores, `[patients]` each."""
        event, time, score = columns(len(np.asarray(event)), event=event, time=time, score=score)
        seen, at = on_times(event, time, times)
        return cls._of(seen * len(times) + at, score, times, scores, weights)

    def kaplan_meier(self) -> Curve:
        """Survival (Kaplan & Meier 1958) with Greenwood's variance; NaN where nobody is at risk any more."""
        events, at_risk = self._events()
        survival = np.asarray(np.cumprod(1 - ratio(events, at_risk), axis=1), dtype=np.float64)
        spread = np.cumsum(ratio(events, at_risk * (at_risk - events)), axis=1)
        # All who were left had the event: survival is 0 and its variance is taken as 0.
        variance = np.where(survival == 0, 0.0, survival**2 * spread)
        return Curve(survival, variance, at_risk, events)

    def censoring(self) -> Floats:
        """Chance not to have been censored by each grid time: `[replicates, times]`; events leave before censorings."""
        events, at_risk = self._events()
        left = at_risk - events
        censored = self.counts[:, 0].sum(axis=2)
        return np.asarray(np.cumprod(1 - np.nan_to_num(ratio(censored, left)), axis=1), dtype=np.float64)

    def nelson_aalen(self) -> Curve:
        """Cumulative hazard (Nelson 1972, Aalen 1978)."""
        events, at_risk = self._events()
        hazard = np.cumsum(np.nan_to_num(ratio(events, at_risk)), axis=1)
        variance = np.cumsum(np.nan_to_num(ratio(events, at_risk.astype(float) ** 2)), axis=1)
        return Curve(hazard, variance, at_risk, events)

    def survival_at(self, horizon: float) -> Floats:
        """Kaplan–Meier's survival at a time: `[replicates]`."""
        cell = self.times.up_to(horizon)
        return np.ones(len(self.counts)) if cell == 0 else self.kaplan_meier().value[:, cell - 1]

    def rmst(self, horizon: float) -> tuple[Floats, Floats]:
        """Restricted mean survival time up to a horizon and its variance: `[replicates]` each."""
        curve = self.kaplan_meier()
        inside = self.times.up_to(horizon)
        edges = np.concatenate([[0.0], self.times.values[:inside], [horizon]])
        steps = np.concatenate([np.ones((len(self.counts), 1)), curve.value[:, :inside]], axis=1)
        pieces = steps * np.diff(edges)
        rest = np.cumsum(pieces[:, ::-1], axis=1)[:, ::-1][:, 1:]  # area from each time to the horizon
        events, at_risk = curve.events[:, :inside], curve.at_risk[:, :inside]
        variance = (rest**2 * np.nan_to_num(ratio(events, at_risk * (at_risk - events)))).sum(axis=1)
        return pieces.sum(axis=1), variance

    def log_rank(self) -> ChiSquared:
        """Difference between the arms' hazards (Mantel 1966): chi-squared over arms that have anybody, less one."""
        events, at_risk = self.counts[:, 1].astype(float), self.at_risk().astype(float)
        all_events, all_risk = events.sum(axis=2), at_risk.sum(axis=2)
        share = np.nan_to_num(at_risk / np.maximum(all_risk, 1)[:, :, None])
        gap = (events - share * all_events[:, :, None]).sum(axis=1)
        factor = all_events * np.nan_to_num(ratio(all_risk - all_events, all_risk - 1))
        spread = np.einsum("rt,rti,ij->rij", factor, share, np.eye(share.shape[2]))
        spread -= np.einsum("rt,rti,rtj->rij", factor, share, share)
        arms = np.flatnonzero(self.counts[0].sum(axis=(0, 1)))[:-1]
        if not len(arms):
            return ChiSquared(np.full(len(gap), np.nan), 0)
        inverse = np.linalg.pinv(spread[:, arms][:, :, arms], hermitian=True)
        return ChiSquared(np.einsum("ri,rij,rj->r", gap[:, arms], inverse, gap[:, arms]), len(arms))

    def at_risk(self) -> Integers:
        """Patients just before each time, by score: `[replicates, times, scores]`."""
        return np.asarray(np.cumsum(self.counts.sum(axis=1)[:, ::-1], axis=1)[:, ::-1])

    def _events(self) -> tuple[Integers, Integers]:
        """Events at, and patients at risk just before, each time, whatever their score: `[replicates, times]` each."""
        by_time = self.counts.sum(axis=3)
        return by_time[:, 1], np.asarray(np.cumsum(by_time.sum(axis=1)[:, ::-1], axis=1)[:, ::-1])


def on_times(event: Floats, time: Floats, times: Grid) -> tuple[Integers, Integers]:
    """Events as 0 and 1, and time cells, `[patients]` each; follow-up past the last grid time is censored there."""
    inside = time <= times.values[-1]
    return ((event == 1) & inside).astype(np.int64), times.index(time)
