"""Events of several causes, of which the first to come hides the others: curves, and how a score of one cause ranks."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import UserError
from foundation.statistics.grid import Grid
from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import Floats, Integers, Table, columns, counted, once, ratio, summed

_PAIRS = 1 << 20  # at a time
KINDS = ("censored", "cause", "other cause")


@dataclass(frozen=True, eq=False)
class CauseTable(Table):
    """Patients by what ended their follow-up, time and score of one cause.

    Events at a time come before the censorings at it. Follow-up past the last grid time is censored there.

    Attributes:
        times: the grid; rounded up, so that what happened up to a grid time is exact.
        scores: the grid, a higher one means a higher risk of the cause.
        counts: `[replicates, 3, times, scores]`: censored, the cause, another cause.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts",)
    times: Grid
    scores: Grid
    counts: Integers

    @classmethod
    def empty(cls, times: Grid, scores: Grid, replicates: int = 0) -> "CauseTable":
        return cls(times, scores, np.zeros((1 + replicates, 3, len(times), len(scores)), dtype=np.int64))

    @classmethod
    def from_patients(
        cls,
        kind: ArrayLike,
        time: ArrayLike,
        score: ArrayLike,
        times: Grid,
        scores: Grid,
        weights: ArrayLike | None = None,
    ) -> "CauseTable":
        """Of kinds (0 censored, 1 the cause, 2 another cause), times and scores, `[patients]` each."""
        kind, time, score = columns(len(np.asarray(kind)), kind=kind, time=time, score=score)
        cells = kinds_on_times(kind, time, times) * len(scores) + scores.index(score)
        counts = counted(cells, 3 * len(times) * len(scores), once(weights, len(kind)))
        return cls(times, scores, counts.reshape(len(counts), 3, len(times), len(scores)))

    def outcomes(self) -> Integers:
        """Censored, events of the cause and of others: `[replicates, 3]`."""
        return np.asarray(self.counts.sum(axis=(2, 3)))

    def any_event(self) -> SurvivalTable:
        """The same patients, whatever the cause."""
        counts = np.stack([self.counts[:, 0], self.counts[:, 1:].sum(axis=1)], axis=1)
        return SurvivalTable(self.times, self.scores, counts)

    def of_cause(self) -> SurvivalTable:
        """The same patients, those of another cause censored when it came: what a cause-specific hazard is judged by.

        An event of the cause and one of another at a time are taken in this order.
        """
        counts = np.stack([self.counts[:, 0] + self.counts[:, 2], self.counts[:, 1]], axis=1)
        return SurvivalTable(self.times, self.scores, counts)

    def by_group(self, cuts: ArrayLike) -> "CauseTable":
        """Risk groups 0, 1, ...: scores below the first cut, from it to below the next, and so on."""
        group = np.searchsorted(np.asarray(cuts, dtype=np.float64), self.scores.values, side="right")
        groups = np.arange(len(np.asarray(cuts)) + 1)
        onto = (group[:, None] == groups).astype(np.int64)
        return CauseTable(self.times, Grid(groups.astype(np.float64)), self.counts @ onto)

    def group(self, cell: int) -> "CauseTable":
        """The patients of one score or group alone."""
        return CauseTable(self.times, Grid(self.scores.values[[cell]]), self.counts[..., cell : cell + 1])

    def incidence(self) -> Floats:
        """Cumulative incidence of the cause at each grid time: `[replicates, times]`; NaN once nobody is at risk.

        Aalen & Johansen 1978: the sum of the chance to be free of any event just before a time, times the hazard of
        the cause at it.
        """
        any_event = self.any_event()
        free = _before(any_event.kaplan_meier().value)
        return np.asarray(
            np.cumsum(free * ratio(self.counts[:, 1].sum(axis=2), any_event.at_risk().sum(axis=2)), axis=1)
        )

    def incidence_at(self, horizon: float) -> Floats:
        """The same at a time: `[replicates]`."""
        cell = self.times.up_to(horizon)
        return np.zeros(len(self.counts)) if cell == 0 else self.incidence()[:, cell - 1]

    def auc(self, horizon: float) -> Floats:
        """AUC of the cause by a horizon against everybody who did not have it by then: `[replicates]`.

        Blanche, Dartigues & Jacqmin-Gadda 2013, definition (ii): events by the horizon weigh 1 / G(t-), followed beyond
        1 / G(horizon), G being the curve of censoring of these patients. A tie in score counts half.
        """
        cell = self.times.up_to(horizon)
        curve = np.pad(self.any_event().censoring(), ((0, 0), (1, 0)), constant_values=1.0)
        weights = ratio(1.0, curve[:, :cell])[:, :, None]
        cases = np.nan_to_num(self.counts[:, 1, :cell] * weights).sum(axis=1)
        others = np.nan_to_num(self.counts[:, 2, :cell] * weights).sum(axis=1)
        followed = self.counts[:, :, cell:].sum(axis=(1, 2))
        controls = others + np.where(followed > 0, ratio(followed, curve[:, cell, None]), 0.0)
        below = np.cumsum(controls, axis=1) - controls
        return ratio((cases * (below + controls / 2)).sum(axis=1), cases.sum(axis=1) * controls.sum(axis=1))

    def concordance(self, tau: float = math.inf) -> Floats:
        """How often who has the cause first, before `tau`, has the higher score: `[replicates]`.

        Wolbers et al. 2014: partners are those still followed, and those whom another cause took before; the first kind
        weighs G(t-)^-2, the second 1 / (G(t-) G(u-)), u being when the other cause came. Without other causes it is
        Uno's C. A tie in score counts half; two events of the cause at a time are no pair.
        """
        before = _before(self.any_event().censoring())
        kind, time, score = np.nonzero(self.counts.any(axis=0))
        here = self.counts[:, kind, time, score].astype(np.float64)
        inverse = np.nan_to_num(ratio(1.0, before))[:, time]
        cases = np.flatnonzero((kind == 1) & (self.times.values[time] < tau))
        won, pairs = np.zeros(len(here)), np.zeros(len(here))
        size = max(1, _PAIRS // max(1, len(time)))
        for block in (cases[start : start + size] for start in range(0, len(cases), size)):
            first, at = here[:, block] * inverse[:, block], time[block][:, None]
            still = ((at < time) | ((at == time) & (kind == 0))).astype(np.float64)
            gone = ((at >= time) & (kind == 2)).astype(np.float64)
            better = (score[block][:, None] > score) + 0.5 * (score[block][:, None] == score)
            for partners, left, right in ((still, first * inverse[:, block], here), (gone, first, here * inverse)):
                won += ((left @ (partners * better)) * right).sum(axis=1)
                pairs += ((left @ partners) * right).sum(axis=1)
        return ratio(won, pairs)


@dataclass(frozen=True, eq=False)
class IncidenceTable(Table):
    """Patients by what ended their follow-up and when, and sums of the incidence predicted for them at each horizon.

    Attributes:
        times: the grid; a horizon between two of its times sees events up to the one before it.
        horizons: days, ascending.
        counts: `[replicates, 3, times]`: censored, the cause, another cause.
        sums: of predicted incidence and of its square, `[replicates, 2, horizons, 3, times]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts", "sums")
    times: Grid
    horizons: tuple[float, ...]
    counts: Integers
    sums: Floats

    @classmethod
    def empty(cls, times: Grid, horizons: tuple[float, ...], replicates: int = 0) -> "IncidenceTable":
        rows, cells = 1 + replicates, len(times)
        counts = np.zeros((rows, 3, cells), dtype=np.int64)
        return cls(times, horizons, counts, np.zeros((rows, 2, len(horizons), 3, cells)))

    @classmethod
    def from_patients(
        cls,
        kind: ArrayLike,
        time: ArrayLike,
        incidence: ArrayLike,
        times: Grid,
        horizons: tuple[float, ...],
        weights: ArrayLike | None = None,
    ) -> "IncidenceTable":
        """Of kinds (0 censored, 1 the cause, 2 another), times, and predicted incidence `[patients, horizons]`."""
        incidence = np.asarray(incidence, dtype=np.float64)
        kind, time, incidence = columns(len(incidence), kind=kind, time=time, incidence=incidence)
        if incidence.ndim != 2 or incidence.shape[1] != len(horizons):
            raise UserError(f"statistics: incidence has shape {incidence.shape}, expected [patients, {len(horizons)}]")
        cells = kinds_on_times(kind, time, times)
        rows, size = once(weights, len(kind)), 3 * len(times)
        values = rows[:, None, None] * np.stack([incidence.T, incidence.T**2])
        return cls(
            times,
            horizons,
            counted(cells, size, rows).reshape(len(rows), 3, len(times)),
            summed(cells, size, values).reshape(len(rows), 2, len(horizons), 3, len(times)),
        )

    def patients(self) -> CauseTable:
        """The same patients without their predictions."""
        return CauseTable(self.times, Grid(np.zeros(1)), self.counts[..., None])

    def observed(self) -> Floats:
        """Cumulative incidence at each horizon, by Aalen and Johansen: `[replicates, horizons]`."""
        patients = self.patients()
        return np.stack([patients.incidence_at(days) for days in self.horizons], axis=1)

    def predicted(self) -> Floats:
        """Mean predicted incidence at each horizon: `[replicates, horizons]`."""
        return ratio(self.sums[:, 0].sum(axis=(2, 3)), self.counts.sum(axis=(1, 2))[:, None])

    def brier(self) -> Floats:
        """Squared error of predicted incidence, weighed for censoring, at each horizon: `[replicates, horizons]`.

        Schoop et al. 2011: events of any cause by the horizon weigh 1 / G(t-), those followed beyond it 1 / G(horizon);
        G is the Kaplan–Meier curve of censoring of these patients.
        """
        plain, square = self.sums[:, 0, :, 1], self.sums[:, 1]
        return self._weighed(self.counts[:, None, 1] - 2 * plain + square[:, :, 1], square[:, :, 2], square.sum(axis=2))

    def brier_of_incidence(self) -> Floats:
        """The same of a prediction that tells nobody apart: the incidence of these patients."""
        curve, counts = self.observed()[..., None], self.counts[:, None]
        everybody = counts.sum(axis=2)
        return self._weighed((1 - curve) ** 2 * counts[:, :, 1], curve**2 * counts[:, :, 2], curve**2 * everybody)

    def integrated_brier(self) -> Floats:
        """Mean of the Brier score from the first to the last horizon, by the trapezium rule: `[replicates]`."""
        brier = self.brier()
        if len(self.horizons) == 1:
            return brier[:, 0]
        return np.asarray(np.trapezoid(brier, self.horizons, axis=1) / (self.horizons[-1] - self.horizons[0]))

    def _weighed(self, of_cause: Floats, of_others: Floats, of_followed: Floats) -> Floats:
        """Errors by horizon and time, `[replicates, horizons, times]`, weighed and averaged over patients."""
        curve = np.pad(self.patients().any_event().censoring(), ((0, 0), (1, 0)), constant_values=1.0)
        total = []
        for place, horizon in enumerate(self.horizons):
            cell = self.times.up_to(horizon)
            ended = of_cause[:, place, :cell] + of_others[:, place, :cell]
            followed = of_followed[:, place, cell:].sum(axis=1)
            left = np.where(followed > 0, ratio(followed, curve[:, cell]), 0.0)
            total.append(np.nan_to_num(ratio(ended, curve[:, :cell])).sum(axis=1) + left)
        return ratio(np.stack(total, axis=1), self.counts.sum(axis=(1, 2))[:, None])


def kinds_on_times(kind: Floats, time: Floats, times: Grid) -> Integers:
    """Cells of kind and time, `[patients]`, times within kinds."""
    inside = time <= times.values[-1]
    return np.asarray(np.where(inside, kind, 0).astype(np.int64) * len(times) + times.index(time))


def _before(curve: Floats) -> Floats:
    """The curve just before each time."""
    return np.pad(curve, ((0, 0), (1, 0)), constant_values=1.0)[:, :-1]
