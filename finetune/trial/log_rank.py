"""The log-rank test and hazard ratio of a randomised trial, with and without adjustment for covariates.

Ye, Shao and Yi, "Covariate-adjusted log-rank test: guaranteed efficiency gain and universal applicability", Biometrika
111 (2024): the score is a mean of derived outcomes, of which what covariates predict within each arm is taken off.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.statistics.comparison import two_sided
from foundation.statistics.table import Floats

_STEPS = 60
_FURTHEST = 20.0  # of a log hazard ratio: beyond it one arm had no event


@dataclass(frozen=True)
class Effect:
    """An effect of treatment, tested and estimated.

    Attributes:
        value: of the treated arm against the other, such as a log hazard ratio or a difference.
        error: standard error of the value.
        z: the test statistic of no effect.
        n: patients.
        estimator: what the value is.
    """

    value: float
    error: float
    z: float
    n: int
    estimator: str

    @property
    def p(self) -> float:
        """Two-sided, of no effect."""
        return two_sided(self.z)

    def interval(self, quantile: float = 1.959963984540054) -> tuple[float, float]:
        """Low and high, of 95 % unless another quantile of the normal distribution is asked for."""
        return self.value - quantile * self.error, self.value + quantile * self.error


class RiskSets:
    """Who is at risk in two arms at each time of an event.

    Args:
        event: 1 seen, 0 censored, `[patients]`.
        time: `[patients]`.
        arm: 1 treated, 0 not, `[patients]`.

    Attributes:
        events: at each time of an event, `[times]`.
        treated, others: at risk just before it, `[times]`.
    """

    def __init__(self, event: Floats, time: Floats, arm: Floats) -> None:
        self.event, self.arm = event == 1, arm == 1
        if not self.event.any() or self.arm.all() or not self.arm.any():
            raise UserError("log-rank: needs an event, and patients in both arms; look at the outcome and the arm")
        times, at = np.unique(time[self.event], return_inverse=True)
        self.events = np.bincount(at, minlength=len(times)).astype(np.float64)
        self.treated, self.others = (
            (len(rows) - np.searchsorted(rows, times, side="left")).astype(np.float64)
            for rows in (np.sort(time[self.arm]), np.sort(time[~self.arm]))
        )
        self.last = np.searchsorted(times, time, side="right")  # events' times up to each patient's

    def outcomes(self, theta: float = 0.0) -> Floats:
        """Derived outcomes, each of the patient's own arm: `[patients]`; their signed mean is `score`."""
        ratio = math.exp(theta)
        weighed = ratio * self.treated + self.others
        result = np.empty(len(self.arm))
        for rows, share, hazard in (
            (self.arm, self.others / weighed, ratio * self.events / weighed),
            (~self.arm, ratio * self.treated / weighed, self.events / weighed),
        ):
            expected = np.concatenate([[0.0], np.cumsum(share * hazard)])[self.last[rows]]
            seen = self.event[rows]
            result[rows] = -expected
            result[np.flatnonzero(rows)[seen]] += share[self.last[rows][seen] - 1]
        return result

    def score(self, theta: float = 0.0) -> float:
        """Mean over patients: events of the treated less those expected if their hazard ratio were exp(theta)."""
        ratio = math.exp(theta)
        share = ratio * self.treated / (ratio * self.treated + self.others)
        return float((self.arm[self.event].sum() - (share * self.events).sum()) / len(self.arm))

    def information(self, theta: float = 0.0) -> float:
        """How fast the score falls with theta."""
        ratio = math.exp(theta)
        weighed = ratio * self.treated + self.others
        return float((ratio * self.treated * self.others / weighed**2 * self.events).sum() / len(self.arm))

    def variance(self) -> float:
        """Of the score times the root of patients, under no effect; exact with tied events (hypergeometric)."""
        both = self.treated + self.others
        ties = np.where(both > 1, (both - self.events) / np.maximum(both - 1, 1), 0.0)
        return float((self.treated * self.others / both**2 * self.events * ties).sum() / len(self.arm))


def log_rank(event: Floats, time: Floats, arm: Floats) -> Effect:
    """Unadjusted: Mantel's test (1966), and the hazard ratio of Cox's partial likelihood (ties: Breslow)."""
    sets = RiskSets(event, time, arm)
    theta = _root(sets, 0.0)
    n = len(event)
    z = _statistic(sets.score(), sets.variance(), n)
    error = 1 / math.sqrt(n * sets.information(theta))
    return Effect(theta, error, z, n, "log hazard ratio, Cox's partial likelihood; log-rank test")


def adjusted_log_rank(event: Floats, time: Floats, arm: Floats, covariates: Floats) -> Effect:
    """Adjusted for covariates `[patients, width]`: the same hazard ratio of all patients, estimated with less noise.

    The estimand stays the unadjusted, marginal hazard ratio, and the test is valid whether or not covariates are
    prognostic. Simple randomisation is assumed.

    Raises:
        UserError: without events, or with too few patients in an arm for the covariates.
    """
    sets = RiskSets(event, time, arm)
    n, share = len(event), float(sets.arm.mean())
    if min(sets.arm.sum(), n - sets.arm.sum()) <= covariates.shape[1] + 1:
        raise UserError("log-rank: fewer patients in an arm than covariates and two; take fewer covariates")
    centred = covariates - covariates.mean(axis=0)
    shift, gain = _adjustment(sets.outcomes(), sets.arm, centred, share)
    z = _statistic(sets.score() - shift, sets.variance() - gain, n)
    at = _root(sets, 0.0)
    shift, gain = _adjustment(sets.outcomes(at), sets.arm, centred, share)
    theta = _root(sets, shift)
    information = sets.information(theta)
    error = math.sqrt(max(information - gain, 0.0) / n) / information
    return Effect(theta, error, z, n, "log hazard ratio, covariate-adjusted log-rank score (Ye, Shao and Yi 2024)")


def _statistic(score: float, variance: float, n: int) -> float:
    """Score over its error; few events may leave no variance, and covariates may take off more than there is."""
    if variance <= 0:
        raise UserError(f"log-rank: the events of {n} patients are too few to compare arms by; take more patients")
    return score * math.sqrt(n / variance)


def _adjustment(outcomes: Floats, arm: NDArray[np.bool_], centred: Floats, share: float) -> tuple[float, float]:
    """What covariates by chance add to the score, and what their removal takes off its variance."""
    slopes = []
    for rows in (arm, ~arm):
        inside = centred[rows] - centred[rows].mean(axis=0)
        slopes.append(np.linalg.lstsq(inside, outcomes[rows], rcond=None)[0])
    signed = np.where(arm, centred @ slopes[0], -(centred @ slopes[1]))
    both = slopes[0] + slopes[1]
    spread = centred.T @ centred / len(centred)
    return float(signed.mean()), float(share * (1 - share) * both @ spread @ both)


def _root(sets: RiskSets, shift: float) -> float:
    """Where score less shift is zero: Newton's method, held within a bracket, for the score only falls."""
    low, high = -_FURTHEST, _FURTHEST
    theta = 0.0
    for _ in range(_STEPS):
        gap = sets.score(theta) - shift
        low, high = (theta, high) if gap > 0 else (low, theta)
        step = gap / max(sets.information(theta), 1e-300)
        following = theta + step
        following = following if low < following < high else (low + high) / 2
        if abs(following - theta) < 1e-12:
            return following
        theta = following
    return theta
