"""Fitting of experts: each block by itself, taught once more by what all of them know, and their combination.

A block's expert is a ridge regression of the response. A second one, with the same features, regresses the fused score
of all blocks (generalised distillation: Lopez-Paz et al. 2016): that score tells more of a patient than a label or a
censored time does, and only training patients need have the other modalities. Both are added in the proportion that
explains the response best. A block that at hospitals left out tells next to nothing of the fused score (MRI of few
gliomas) is not taught: what it took of that score would be chance.
Penalties, weights and calibration are chosen on scores of fits without the patient's hospital. Three things are not
without it, so these scores judge a model kindly: a block's main axes, the weights of the combination, and the teacher,
whose scores of other hospitals' patients come from experts that have seen this one. Only hospitals held out of all that
(`finetune.evaluate`, `finetune.crossvalidate`) judge a model.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.experts.blocks import Axes
from finetune.experts.fusion import Normal, Rule, patterns, rule
from finetune.experts.responses import Floats, Response, Value
from finetune.experts.ridge import CrossFit, cross_fit, hospital_folds, linear, ridge
from finetune.experts.weights import weigh, weigh_positively
from foundation.errors import UserError

FEWEST = 20  # patients who have a block, for an expert of it
_POWERS = (0.0, 1.0, 2.0)  # of a feature's score statistic (`Axes.towards`); 0: main axes
_WIDE = 2.0  # features a patient
_TOLD = 0.1  # of the teacher's variance, at hospitals left out, for a student to be heard
_STUDENT_PENALTY = 10.0
_SATURATED = 3.0  # a score beyond which a teacher says no more: 95 % of a label, a twentyfold hazard


class Expert(NamedTuple):
    """A block's linear score, and that of each training patient by fits without their hospital.

    Attributes:
        axes: of the block.
        beta: coefficients on them, the intercept last.
        scores: `[patients]`, NaN for those who lack the block.
    """

    axes: Axes
    beta: Floats
    scores: Floats

    def predict(self, values: Floats) -> Floats:
        """Scores of patients who have the block, `[patients, size]`."""
        return linear(self.axes.project(values), self.beta)


class Committee(NamedTuple):
    """Experts of one response and how they are combined.

    Attributes:
        experts: by block; None where too few patients have it.
        rules: of each subset of the experts that there are, by the bytes of its pattern.
        scores: fused, of the training patients, by fits without their hospital: `[patients]`.
    """

    experts: dict[str, Expert | None]
    rules: dict[bytes, Rule]
    scores: Floats


def fit_committee(
    blocks: dict[str, Floats], response: Response, hospitals: Sequence[str], distil: bool = True
) -> Committee:
    """Experts of all blocks for one response.

    Args:
        blocks: by name, `[patients, size]`, NaN where not measured.
        response: of the patients.
        hospitals: of the patients, by which they are left out.
        distil: teach experts by the fused score, too; without, each is a plain ridge on its main axes.

    Raises:
        UserError: if no block has patients enough.
    """
    names = np.asarray(hospitals)
    experts = {name: fit_expert(values, response, names, distil) for name, values in blocks.items()}
    if not any(experts.values()):
        raise UserError(
            f"task.modalities: none of {', '.join(blocks)} is there for {FEWEST} patients with a target, and experts "
            "need as many; set method=steps"
        )
    committee = _combine(experts, response, names)
    if not distil or sum(expert is not None for expert in experts.values()) == 1:  # which would be its own teacher
        return committee
    teacher = Value(np.clip(committee.scores, -_SATURATED, _SATURATED))
    for name, expert in experts.items():
        if expert is not None:
            experts[name] = distilled(expert, blocks[name], teacher, response, names)
    return _combine(experts, response, names)


def fit_expert(
    values: Floats, response: Response, hospitals: NDArray[np.str_], supervised: bool = True
) -> Expert | None:
    """A block's expert; None where fewer than twenty have a response.

    Of a block with far more features than patients, main axes leave most away. There axes towards the response are
    tried, too, and unseen hospitals choose.
    """
    present = ~np.isnan(values).all(axis=1)
    rows = np.flatnonzero(present & response.known)
    if len(rows) < FEWEST:
        return None
    axes, known, seen = Axes.of(values[present]), values[rows], response.of(rows)
    folds = hospital_folds(hospitals[rows])
    others = [np.setdiff1d(np.arange(len(rows)), fold) for fold in folds]
    wide = np.isfinite(axes.scale).sum() > _WIDE * len(rows)
    powers = _POWERS if supervised and wide else _POWERS[:1]

    def crossed(power: float) -> CrossFit:
        if not power:
            return cross_fit([axes.project(known)] * len(folds), seen, folds)
        without = (axes.towards(known[rest], seen.of(rest), power) for rest in others)
        return cross_fit([some.project(known) for some in without], seen, folds)

    tried = {power: crossed(power) for power in powers}
    power = max(powers, key=lambda power: tried[power].log_likelihood)
    if power:
        axes = axes.towards(known, seen, power)
    beta = ridge(axes.project(known), seen, tried[power].penalty)
    scores = np.full(len(values), np.nan)
    scores[present] = linear(axes.project(values[present]), beta)
    scores[rows] = tried[power].scores
    return Expert(axes, beta, scores)


def distilled(
    expert: Expert, values: Floats, teacher: Value, response: Response, hospitals: NDArray[np.str_]
) -> Expert:
    """The expert with that of the teacher's score added, where the block tells of that score."""
    student = fit_expert(values, teacher, hospitals)
    if student is None:
        return expert
    seen = np.flatnonzero(teacher.known & ~np.isnan(student.scores))
    if ((teacher.values - student.scores)[seen] ** 2).mean() > (1 - _TOLD) * teacher.values[seen].var():
        return expert
    rows = np.flatnonzero(response.known & ~np.isnan(expert.scores) & ~np.isnan(student.scores))
    both = np.stack([expert.scores, student.scores], axis=1)
    spread = np.maximum(both[rows].std(axis=0), 1e-9)
    slopes, shift = weigh_positively(both[rows], response.of(rows), _STUDENT_PENALTY, spread)
    if not slopes.any():
        return expert
    rotation = np.concatenate([expert.axes.rotation, student.axes.rotation], axis=1)
    beta = np.concatenate([slopes[0] * expert.beta[:-1], slopes[1] * student.beta[:-1]])
    bias = slopes @ [expert.beta[-1], student.beta[-1]] + shift
    return Expert(replace(expert.axes, rotation=rotation), np.append(beta, bias), both @ slopes + shift)


def _combine(experts: dict[str, Expert | None], response: Response, hospitals: NDArray[np.str_]) -> Committee:
    scores = np.stack([expert.scores for expert in experts.values() if expert is not None], axis=1)
    rows = np.flatnonzero(response.known & ~np.isnan(scores).all(axis=1))
    normal = Normal.of(scores[rows])
    filled = normal.fill(scores[rows])
    weights, shift = weigh(scores[rows], filled, response.of(rows), hospital_folds(hospitals[rows]))
    rules = _calibrated(scores[rows], response.of(rows), normal, weights, shift)
    fused = np.full(len(scores), np.nan)
    for pattern, who in patterns(scores):
        if pattern.any():
            fused[who] = rules[pattern.tobytes()].apply(scores[who])
    return Committee(experts, rules, fused)


def _calibrated(scores: Floats, response: Response, normal: Normal, weights: Floats, shift: float) -> dict[bytes, Rule]:
    """Each subset's combination with a slope and a shift of its own, from all patients who have these scores at least.

    What is expected of a missing score varies less than the score would, so the same weights would promise too much or
    too little. Few patients draw a subset towards no change.
    """
    every = [np.array(pattern) for pattern in itertools.product((False, True), repeat=scores.shape[1])]
    plain = {pattern.tobytes(): rule(normal, weights, shift, pattern) for pattern in every}
    rules = {}
    reference = plain[every[-1].tobytes()].apply(normal.fill(scores))
    for pattern in every:
        key = pattern.tobytes()
        rows = np.flatnonzero(~np.isnan(scores[:, pattern]).any(axis=1))
        slope, more = 1.0, 0.0
        if pattern.any() and len(rows) >= FEWEST:
            score = plain[key].apply(np.where(pattern, scores[rows], np.nan))
            slope, more = response.of(rows).line(score, response.exposure(reference)[rows])
        rules[key] = Rule(slope * plain[key].weights, slope * plain[key].shift + more)
    return rules
