"""Weights of experts' scores in their combination: none below zero, small for what few have or what tells little."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finetune.experts.responses import Floats, Response, Rows, score_statistics
from finetune.experts.ridge import ridge

_LEAST = 0.01  # of a squared score statistic, of which chance alone would give one
_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


def weigh(scores: Floats, filled: Floats, response: Response, folds: Sequence[Rows]) -> tuple[Floats, float]:
    """Weights `[experts]` and a shift, at the penalty with which unseen hospitals fare best.

    The fewer have a score, the more its weight is penalised, and in units of the spread among those who have it: where
    it is expected from the others it hardly varies, and a penalty in units of that spread would leave an expert of few
    patients almost free. It is penalised the more, too, the less its score tells of a patient by itself (as in the
    adaptive lasso: Zou 2006); by a common penalty, which hangs on chance when it is small, survival of the gliomas went
    by MRI of 80 patients. All are weighed, for a choice of experts hangs on chance, too.

    Args:
        scores: of all experts, `[patients, experts]`, NaN where a patient has none.
        filled: the same with what is expected of a missing one.
        response: of the patients.
        folds: rows of each hospital.
    """
    known = ~np.isnan(scores)
    told = [
        _told(column[there], response.of(np.flatnonzero(there)))
        for column, there in zip(scores.T, known.T, strict=True)
    ]
    spread = np.maximum(np.nanstd(scores, axis=0), 1e-9)
    unit = spread * np.sqrt(max(told) / np.asarray(told) / known.mean(axis=0))
    rows = np.arange(len(scores))
    others = [np.setdiff1d(rows, fold) for fold in folds]

    def left_out(penalty: float) -> float:
        likelihood = 0.0
        for fold, rest in zip(folds, others, strict=True):
            weights, shift = weigh_positively(filled[rest], response.of(rest), penalty, unit)
            likelihood += response.of(fold).log_likelihood(filled[fold] @ weights + shift)
        return likelihood

    return weigh_positively(filled, response, max(_PENALTIES, key=left_out), unit)


def _told(score: Floats, response: Response) -> float:
    """Squared score statistic a patient; never nothing."""
    statistic = max(float(score_statistics(score[:, None], response)[0]), 0.0)
    return max(statistic**2, _LEAST) / len(score)


def weigh_positively(scores: Floats, response: Response, penalty: float, unit: Floats) -> tuple[Floats, float]:
    """Weights `[experts]` by ridge, and a shift; what would weigh less than nothing is left out, the rest done anew.

    Args:
        scores: none missing, `[patients, experts]`.
        response: of the patients.
        penalty: of squared weights.
        unit: of each score, in which its weight is penalised, `[experts]`.
    """
    mean = scores.mean(axis=0)
    standard = (scores - mean) / unit
    used: NDArray[np.bool_] = np.ones(scores.shape[1], dtype=bool)
    weights, beta = np.zeros(scores.shape[1]), np.zeros(1)
    while used.any():
        beta = ridge(standard[:, used], response, penalty)
        if (beta[:-1] >= 0).all():
            weights[used] = beta[:-1]
            break
        used[np.flatnonzero(used)[beta[:-1] < 0]] = False
    weights = weights / unit
    return weights, float(beta[-1] - mean @ weights)
