"""Experts fitted from hospitals' sums alone: what `finetune.experts.fit` finds of patients, found of what is kept.

One step of Newton's from no effect stands for all of them, and a combination by moments of pairs of scores for one by
patients: for a label that is linear discriminant analysis, for survival the score test's direction. Penalties are
chosen by leaving hospitals out (halves of them where there are fewer than three). What this costs beside the iterated
fit of experts is measured by `scripts/bench/arrivals.py`.
"""

import itertools
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np

from finetune.experts.fit import FEWEST, Committee, Expert
from finetune.experts.fusion import Normal, Rule, rule
from finetune.experts.responses import Floats
from finetune.experts.ridge import PENALTIES
from finetune.learning.hospital_sums import HospitalSums, Part
from foundation.errors import UserError

_WEIGHTS = 3.0  # patients' worth of belief that a score weighs nothing
_INTERCEPT = 1e-6
_LEAST = 1e-9


class Moments(NamedTuple):
    """Of experts' scores and the response, over all patients, each score by a fit without its hospital.

    Attributes:
        normal: of the scores.
        shared: covariance of each with the response's slope over its curvature, `[experts]`.
        level: mean of that.
        total: curvature of all patients.
    """

    normal: Normal
    shared: Floats
    level: float
    total: float


def fit_sums(sums: HospitalSums) -> list[Committee]:
    """A committee for each output.

    Args:
        sums: of all hospitals.

    Raises:
        UserError: if no block has patients enough.
    """
    folds = [reduce(add, halves) for halves in sums.parts.values()]
    if len(folds) < 3:
        folds = [half for halves in sums.parts.values() for half in halves]
    return [_committee(sums, folds, output) for output in range(len(sums.frame.starts))]


def _committee(sums: HospitalSums, folds: list[Part], output: int) -> Committee:
    total = reduce(add, folds)
    experts: dict[str, Expert | None] = {}
    left_out: list[list[Floats]] = []  # by expert, coefficients without each fold
    used = []
    for place, (name, columns) in enumerate(sums.frame.columns.items()):
        experts[name] = None
        if total.pairs[place, place] < FEWEST:
            continue
        inside = [(part.information[output][columns, columns], part.gradient[output][columns]) for part in folds]
        penalty, without = _penalty(inside)
        beta = _solved(sum(part[0] for part in inside), sum(part[1] for part in inside), penalty)
        experts[name] = Expert(sums.frame.axes[name], beta, np.zeros(0))
        left_out.append(without)
        used.append((place, columns))
    if not used:
        raise UserError(
            f"task.modalities: no block is there for {FEWEST} patients with a target, and experts need as many"
        )
    moments = _moments(folds, output, used, left_out)
    return Committee(experts, _rules(moments), np.zeros(0))


def _solved(information: Floats, gradient: Floats, penalty: float) -> Floats:
    """Coefficients, the intercept last, which is not penalised."""
    penalties = np.full(len(gradient), penalty)
    penalties[-1] = _INTERCEPT
    return np.asarray(np.linalg.solve(information + np.diag(penalties), gradient))


def _penalty(inside: list[tuple[Floats, Floats]]) -> tuple[float, list[Floats]]:
    """That with which fits without a fold explain it best, and their coefficients."""
    information, gradient = (sum(part[which] for part in inside) for which in (0, 1))
    best: tuple[float, float, list[Floats]] | None = None
    for penalty in PENALTIES:
        without = [_solved(information - bend, gradient - slope, penalty) for bend, slope in inside]
        gain = sum(
            float(slope @ beta - beta @ bend @ beta / 2) for (bend, slope), beta in zip(inside, without, strict=True)
        )
        if best is None or gain > best[0]:
            best = gain, penalty, without
    assert best is not None
    return best[1], best[2]


def _moments(folds: list[Part], output: int, used: list[tuple[int, slice]], left_out: list[list[Floats]]) -> Moments:
    size = folds[0].gradient.shape[1]
    has = np.zeros((size, len(used)))  # whether a patient has each expert's block
    for expert, (_, columns) in enumerate(used):
        has[columns.stop - 1, expert] = 1.0
    both, scores, apart, slopes, levels, mean_slopes = (np.zeros(1) for _ in range(6))
    for fold, part in enumerate(folds):
        of = np.zeros((size, len(used)))
        for expert, (_, columns) in enumerate(used):
            of[columns, expert] = left_out[expert][fold]
        bend, slope = part.information[output], part.gradient[output]
        both = both + has.T @ bend @ has
        apart = apart + has.T @ bend @ of  # scores of the second among those who have the first, too
        scores = scores + of.T @ bend @ of
        slopes, mean_slopes = slopes + of.T @ slope, mean_slopes + has.T @ slope
        levels = levels + np.array([slope[-1], bend[-1, -1]])
    weight = np.maximum(both, 1e-9)
    means = apart / weight
    mean, own = np.diag(means).copy(), np.diag(weight)
    places = [place for place, _ in used]
    pairs = reduce(add, folds).pairs[np.ix_(places, places)]
    normal = Normal.believed(mean, np.where(both > 0, scores / weight - means * means.T, 0.0), pairs)
    return Moments(normal, slopes / own - mean_slopes / own * mean, float(levels[0] / levels[1]), float(levels[1]))


def _weights(moments: Moments) -> Floats:
    """By ridge on the moments; what would weigh less than nothing is left out, the rest done anew."""
    covariance, spread = moments.normal.covariance, np.diag(moments.normal.covariance)
    used = np.ones(len(spread), dtype=bool)
    weights = np.zeros(len(spread))
    while used.any():
        ridge = np.diag(spread[used] * _WEIGHTS / moments.total)
        some = np.linalg.solve(covariance[np.ix_(used, used)] + ridge, moments.shared[used])
        if (some >= 0).all():
            weights[used] = some
            break
        used[np.flatnonzero(used)[some < 0]] = False
    return weights


def _rules(moments: Moments) -> dict[bytes, Rule]:
    """Each subset's combination, as the normal distribution lets expect the scores that it lacks."""
    weights, rules = _weights(moments), {}
    for bits in itertools.product((False, True), repeat=len(weights)):
        pattern = np.array(bits)
        plain = rule(moments.normal, weights, 0.0, pattern)
        spread = float(plain.weights @ moments.normal.covariance @ plain.weights)
        slope = float(plain.weights @ moments.shared) / max(spread, _LEAST)
        shift = moments.level - slope * float(plain.weights @ moments.normal.mean)
        rules[pattern.tobytes()] = Rule(slope * plain.weights, shift)
    return rules
