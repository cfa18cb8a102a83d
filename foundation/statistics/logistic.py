"""Logistic regression by summed gradients and information, and the calibration line of a probability."""

import numpy as np
from numpy.typing import ArrayLike

from foundation.statistics.newton import Newton, NewtonSums
from foundation.statistics.scores import ScoreTable
from foundation.statistics.table import Floats, columns, once


def logistic_sums(
    design: ArrayLike, label: ArrayLike, beta: Floats, weights: ArrayLike | None = None, offset: ArrayLike | None = None
) -> NewtonSums:
    """What these patients say of coefficients.

    Args:
        design: `[patients, width]`; a column of ones for an intercept.
        label: 0 or 1, `[patients]`.
        beta: coefficients, `[replicates, width]`, as `Newton.beta` holds them.
        weights: `[replicates, patients]`.
        offset: added to the linear predictor, `[patients]`.
    """
    design = np.asarray(design, dtype=np.float64)
    design, label = columns(len(design), design=design, label=label)
    shift = np.zeros(len(design)) if offset is None else columns(len(design), offset=offset)[0]
    rows = once(weights, len(design))
    eta = beta @ design.T + shift
    chance = _logistic(eta)
    likelihood = rows * (label * eta - np.logaddexp(0, eta))
    information = np.einsum("rn,ni,nj->rij", rows * chance * (1 - chance), design, design, optimize=True)
    return NewtonSums(likelihood.sum(axis=1), (rows * (label - chance)) @ design, information)


def calibration_line(table: ScoreTable) -> tuple[Floats, Floats, Floats]:
    """Slope, intercept, and calibration in the large, of probabilities: `[replicates]` each.

    Slope and intercept: logistic regression of the label on the logit of the probability (Cox 1958); ideal are 1 and 0.
    In the large: the intercept where the slope is 1; ideal is 0. From the table alone, so on its grid: a probability
    of 0 or 1 counts as half a step inside.
    """
    values = table.scores.values
    edge = min(np.diff(values).min() / 2, 0.5) if len(values) > 1 else 0.0
    p = np.clip(values, max(edge, 1e-12), 1 - max(edge, 1e-12))
    logit = np.log(p / (1 - p))
    label = np.repeat([0.0, 1.0], len(p))
    cells = table.counts.reshape(len(table.counts), -1)
    used = cells.any(axis=0)
    both, label, cells = np.tile(logit, 2)[used], label[used], cells[:, used]
    ones = np.ones((len(both), 1))
    line = _fitted(np.column_stack([ones, both]), label, cells, None)
    large = _fitted(ones, label, cells, both)
    return line[:, 1], line[:, 0], large[:, 0]


def _fitted(design: Floats, label: Floats, weights: ArrayLike, offset: Floats | None) -> Floats:
    rows = np.asarray(weights)
    newton = Newton(design.shape[1], len(rows) - 1)
    while not newton.done:
        newton.update(logistic_sums(design, label, np.nan_to_num(newton.beta), rows, offset))
    return newton.beta


def _logistic(eta: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -eta)))
