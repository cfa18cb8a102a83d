"""How far a ranking is the same over resamples of patients, and over other runs of a model."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from foundation.statistics.table import Floats, Integers


def resampled_importance(shares: Floats, weights: Integers) -> Floats:
    """Mean absolute attribution by bootstrap replicate of patients: `[replicates, inputs]`.

    Args:
        shares: `[patients, inputs]`.
        weights: how often each patient counts, `[replicates, patients]`.
    """
    return np.asarray(weights @ np.abs(shares) / weights.sum(axis=1, keepdims=True))


def first(importance: Floats, top: int) -> NDArray[np.bool_]:
    """Which inputs are among the most important of each ranking: `[rankings, inputs]`."""
    places = np.argsort(-importance, axis=1, kind="stable")[:, :top]
    chosen = np.zeros(importance.shape, dtype=np.bool_)
    np.put_along_axis(chosen, places, True, axis=1)
    return chosen


def agreement(chosen: NDArray[np.bool_]) -> float:
    """Stability of sets `[rankings, inputs]`: 1 where all are the same, 0 as by chance (Nogueira et al. 2018)."""
    rankings, inputs = chosen.shape
    share, size = chosen.mean(axis=0), chosen.sum(axis=1).mean() / inputs
    if rankings < 2 or not 0 < size < 1:
        return float("nan")
    variance = rankings / (rankings - 1) * share * (1 - share)
    return float(1 - variance.mean() / (size * (1 - size)))


def rank_agreement(importance: Floats) -> float:
    """Mean Spearman correlation over pairs of rankings, `[rankings, inputs]`."""
    rho = np.atleast_2d(np.asarray(spearmanr(importance, axis=1).statistic))
    if rho.shape == (1, 1):
        return float(rho[0, 0])
    return float(rho[np.triu_indices(len(rho), 1)].mean())


def rank_interval(importance: Floats) -> Integers:
    """The 2.5th and 97.5th percentile of each input's rank, 1 the most important: `[2, inputs]`."""
    ranks = np.argsort(np.argsort(-importance, axis=1, kind="stable"), axis=1) + 1
    return np.percentile(ranks, [2.5, 97.5], axis=0, method="nearest").astype(np.int64)
