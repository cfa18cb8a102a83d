"""What an expert's score explains: a label, a hazard or a value, with what Newton's method sums over patients."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class Sums(NamedTuple):
    """Log-likelihood, gradient `[width]` and information `[width, width]` at some coefficients: hospitals add them."""

    log_likelihood: float
    gradient: Floats
    information: Floats


_PRIOR = 20.0  # patients' worth of belief that a score needs no calibration
_STEPS = 25
_MONTH = 30.4375  # days
_LEAST_HAZARD = 1e-3
_LEAST = 1e-9


class Response(ABC):
    """A target of some patients.

    Attributes:
        intercept: whether the score has one; a hazard's is the baseline's.
    """

    intercept = True

    @property
    @abstractmethod
    def known(self) -> NDArray[np.bool_]:
        """Of whom it is known, `[patients]`."""

    @abstractmethod
    def of(self, rows: Rows) -> "Response":
        """The response of some of the patients."""

    @abstractmethod
    def sums(self, design: Floats, beta: Floats) -> Sums:
        """Of the linear score `design @ beta`, design being `[patients, width]`."""

    @abstractmethod
    def line(self, score: Floats, exposure: Floats) -> tuple[float, float]:
        """Slope and shift that calibrate a score, drawn towards one and none where few patients tell.

        Args:
            score: `[patients]`.
            exposure: `[patients]`, of a reference score (see `exposure`).
        """

    def exposure(self, score: Floats) -> Floats:
        """What each patient was exposed to beside the score, `[patients]`: the baseline hazard until their time."""
        return np.ones(len(score))

    def start(self) -> Floats:
        """What `tangent` starts from and hospitals must share, `[2, points]`."""
        return np.zeros((2, 0))

    @abstractmethod
    def tangent(self, start: Floats) -> tuple[Floats, Floats]:
        """Slope and curvature of each patient's own log-likelihood where no score tells them apart, `[patients]` each.

        Args:
            start: as `start` gave it of the first hospitals.
        """

    @abstractmethod
    def log_likelihood(self, score: Floats) -> float:
        """Of scores, `[patients]`: by which penalties are chosen on patients that the fit has not seen."""


@dataclass(frozen=True, eq=False)
class Label(Response):
    """A label, 0, 1 or NaN: logistic regression."""

    values: Floats

    @property
    def known(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.values)

    def of(self, rows: Rows) -> "Label":
        return Label(self.values[rows])

    def sums(self, design: Floats, beta: Floats) -> Sums:
        score = design @ beta
        chance = np.exp(-np.logaddexp(0, -score))
        information = (design * (chance * (1 - chance))[:, None]).T @ design
        return Sums(self.log_likelihood(score), design.T @ (self.values - chance), information)

    def tangent(self, start: Floats) -> tuple[Floats, Floats]:
        return self.values - 0.5, np.full(len(self.values), 0.25)

    def line(self, score: Floats, exposure: Floats) -> tuple[float, float]:
        return _line(self, score, min((self.values == 0).sum(), (self.values == 1).sum()))

    def log_likelihood(self, score: Floats) -> float:
        return float(-np.logaddexp(0, np.where(self.values == 1, -score, score)).sum())


@dataclass(frozen=True, eq=False)
class Hazard(Response):
    """Events (1 seen, 0 censored) at times: Cox's partial likelihood, ties by Breslow (Cox 1972; Breslow 1974)."""

    event: Floats
    time: Floats
    intercept = False

    @property
    def known(self) -> NDArray[np.bool_]:
        return ~(np.isnan(self.event) | np.isnan(self.time))

    def of(self, rows: Rows) -> "Hazard":
        return Hazard(self.event[rows], self.time[rows])

    def sums(self, design: Floats, beta: Floats) -> Sums:
        order, seen, at_risk = self._risk_sets()
        x = design[order]
        score = x @ beta
        weight = np.exp(score - score.max(initial=0.0))
        total = np.cumsum(weight)[at_risk]
        share = np.bincount(at_risk, 1 / total, len(x)) if len(seen) else np.zeros(len(x))
        exposure = weight * np.cumsum(share[::-1])[::-1]  # expected events of each patient
        mean = np.cumsum(weight[:, None] * x, axis=0)[at_risk] / total[:, None]
        information = (x * exposure[:, None]).T @ x - mean.T @ mean
        return Sums(self.log_likelihood(design @ beta), x[seen].sum(axis=0) - exposure @ x, information)

    def start(self) -> Floats:
        """Ends of months and the cumulative hazard until each, of all patients alike (Nelson 1969; Aalen 1978)."""
        months = self._months(self.time[self.known])
        ends = np.arange(1, months.max(initial=1) + 1)
        events = np.bincount(months, self.event[self.known], len(ends) + 1)[1:]
        at_risk = (months[None] >= ends[:, None]).sum(axis=1)
        return np.stack([ends * _MONTH, np.cumsum(events / at_risk)])

    def tangent(self, start: Floats) -> tuple[Floats, Floats]:
        """Of events as Poisson counts, expected by the hazard that the first hospitals had."""
        last = np.minimum(self._months(self.time), start.shape[1]) - 1
        expected = np.maximum(start[1][last], _LEAST_HAZARD)
        return self.event - expected, expected

    @staticmethod
    def _months(time: Floats) -> Rows:
        """Months until the end of that in which a time lies, from one on."""
        return np.maximum(np.ceil(time / _MONTH), 1).astype(np.intp)

    def line(self, score: Floats, exposure: Floats) -> tuple[float, float]:
        """The slope by Cox regression; the shift so that as many events are expected as were seen."""
        events = self.event.sum()
        slope, _ = _line(self, score, events)
        expected = (exposure * np.exp(slope * score)).sum()
        return slope, float(np.log(max(events, 0.5) / max(expected, 1e-9)) * events / (events + _PRIOR))

    def exposure(self, score: Floats) -> Floats:
        """Cumulative baseline hazard until each patient's time (Breslow 1974)."""
        order, seen, at_risk = self._risk_sets()
        total = np.cumsum(np.exp(score[order]))[at_risk]
        share = np.bincount(at_risk, 1 / total, len(order)) if len(seen) else np.zeros(len(order))
        hazard = np.empty(len(order))
        hazard[order] = np.cumsum(share[::-1])[::-1]
        return hazard

    def log_likelihood(self, score: Floats) -> float:
        order, seen, at_risk = self._risk_sets()
        ordered = score[order]
        return float((ordered[seen] - np.logaddexp.accumulate(ordered)[at_risk]).sum()) if len(seen) else 0.0

    def _risk_sets(self) -> tuple[Rows, Rows, Rows]:
        """Patients from the longest followed on; among them those with events, and the last one at risk with each."""
        order = np.argsort(-self.time, kind="stable")
        late = -self.time[order]
        seen = np.flatnonzero(self.event[order] == 1)
        return order, seen, np.searchsorted(late, late[seen], side="right") - 1


@dataclass(frozen=True, eq=False)
class Value(Response):
    """A number, NaN where unknown: least squares."""

    values: Floats

    @property
    def known(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.values)

    def of(self, rows: Rows) -> "Value":
        return Value(self.values[rows])

    def sums(self, design: Floats, beta: Floats) -> Sums:
        rest = self.values - design @ beta
        return Sums(float(-(rest @ rest) / 2), design.T @ rest, design.T @ design)

    def tangent(self, start: Floats) -> tuple[Floats, Floats]:
        return self.values, np.ones(len(self.values))

    def line(self, score: Floats, exposure: Floats) -> tuple[float, float]:
        return _line(self, score, len(score))

    def log_likelihood(self, score: Floats) -> float:
        rest = self.values - score
        return float(-(rest @ rest) / 2)


def score_statistics(columns: Floats, response: Response) -> Floats:
    """What each column tells of a response by itself: its score statistic where nothing is known yet, `[columns]`.

    About standard normal where it tells nothing, positive where it rises with the response.

    Args:
        columns: `[patients, columns]`.
        response: of the patients, all known.
    """
    slope, curvature = response.tangent(response.start())
    centred = columns - curvature @ columns / max(curvature.sum(), _LEAST)
    spread = np.sqrt(curvature @ centred**2)
    return np.asarray(slope @ centred / np.where(spread > _LEAST, spread, np.inf))


def _line(response: Response, score: Floats, support: float) -> tuple[float, float]:
    """Slope and shift by Newton's method; few patients, such as those of a rare class, draw them to one and zero."""
    design = np.stack([score, np.ones(len(score))], axis=1)[:, : 1 + int(response.intercept)]
    target = np.array([1.0, 0.0])[: design.shape[1]]
    beta = target.copy()
    for _ in range(_STEPS):
        sums = response.sums(design, beta)
        step = np.linalg.solve(sums.information + 1e-2 * np.eye(len(beta)), sums.gradient - 1e-2 * (beta - target))
        beta = beta + step * min(1.0, 1.0 / max(np.abs(step).max(), 1e-12))
    drawn = target + (beta - target) * support / (support + _PRIOR)
    return float(drawn[0]), float(drawn[1]) if response.intercept else 0.0
