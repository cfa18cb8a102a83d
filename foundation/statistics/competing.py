"""Events of several causes, of which the first to come hides the others: curves, and how a score of one cause ranks."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from foundation.statistics.followup import PredictionTable, ScoreTable
from foundation.statistics.grid import Grid
from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import Floats, Integers, columns, ratio

_PAIRS = 1 << 20  # at a time
KINDS = ("censored", "cause", "other cause")


@dataclass(frozen=True, eq=False)
class CauseTable(ScoreTable):
    """Patients by what ended their follow-up (see `KINDS`), time and score; a higher one means a higher risk."""

    ends: ClassVar[int] = len(KINDS)

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
        return cls._of(kinds_on_times(kind, time, times), score, times, scores, weights)

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

    def incidence_variance(self) -> Floats:
        """Of the cumulative incidence at each grid time: `[replicates, times]`; NaN once nobody is at risk.

        By the delta method (Marubini & Valsecchi 1995, eq. 10.14), the increments of the two hazards being binomial.
        """
        any_event = self.any_event()
        at_risk = any_event.at_risk().sum(axis=2).astype(np.float64)
        events, cause = (self.counts[:, ends].sum(axis=(1, 3)) for ends in (slice(1, None), slice(1, 2)))
        free, curve = _before(any_event.kaplan_meier().value), self.incidence()
        # Sums of (I(t) - I(u))^2 a(u) + b(u) - 2 (I(t) - I(u)) c(u) over u up to t, by their powers of I(t). Where all
        # that are left have the event, a is without bound, and nothing changes afterwards: I(t) is I(u) from there on.
        a = np.where(at_risk > events, ratio(events, at_risk * (at_risk - events)), 0.0)
        b = free**2 * ratio(cause * (at_risk - cause), at_risk**3)
        c = free * ratio(cause, at_risk**2)
        sums = [np.cumsum(part, axis=1) for part in (a, a * curve + c, a * curve**2 + b + 2 * c * curve)]
        return np.asarray(np.maximum(curve**2 * sums[0] - 2 * curve * sums[1] + sums[2], 0.0))

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
class IncidenceTable(PredictionTable):
    """Patients by what ended their follow-up (see `KINDS`) and when, and sums of their predicted incidence."""

    ends: ClassVar[int] = len(KINDS)
    end: ClassVar[str] = "kind"
    prediction: ClassVar[str] = "incidence"

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
        kind, time, incidence = cls._checked(kind, time, incidence, horizons)
        return cls._of(kinds_on_times(kind, time, times), incidence, times, horizons, weights)

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
        of_events = self.counts[:, None, 1] - 2 * plain + square[:, :, 1] + square[:, :, 2]
        return self._weighed(self._censoring(), of_events, square.sum(axis=2))

    def brier_of_incidence(self) -> Floats:
        """The same of a prediction that tells nobody apart: the incidence of these patients."""
        curve, counts = self.observed()[..., None], self.counts[:, None]
        everybody = counts.sum(axis=2)
        of_events = (1 - curve) ** 2 * counts[:, :, 1] + curve**2 * counts[:, :, 2]
        return self._weighed(self._censoring(), of_events, curve**2 * everybody)

    def _censoring(self) -> Floats:
        return self.patients().any_event().censoring()


def kinds_on_times(kind: Floats, time: Floats, times: Grid) -> Integers:
    """Cells of kind and time, `[patients]`, times within kinds."""
    inside = time <= times.values[-1]
    return np.asarray(np.where(inside, kind, 0).astype(np.int64) * len(times) + times.index(time))


def _before(curve: Floats) -> Floats:
    """The curve just before each time."""
    return np.pad(curve, ((0, 0), (1, 0)), constant_values=1.0)[:, :-1]
