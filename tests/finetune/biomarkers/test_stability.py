"""Stability of rankings: the same, by chance, and in between."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from finetune.biomarkers.stability import agreement, first, rank_agreement, rank_interval, resampled_importance


def test_agreement_is_one_of_equal_sets_and_none_by_chance():
    same = np.tile(np.arange(50) < 5, (20, 1))
    assert agreement(same) == 1.0
    rng = np.random.default_rng(0)
    assert abs(agreement(first(rng.random((500, 50)), 5))) < 0.02
    # Two sets of one of four inputs each, disjoint: p = (1/2, 1/2, 0, 0), so 1 - (2 * 1/4 + 1/4 * 0) ... = -1/3.
    assert agreement(np.array([[True, False, False, False], [False, True, False, False]])) == pytest.approx(-1 / 3)
    assert np.isnan(agreement(np.ones((3, 4), dtype=bool)))


def test_resampled_importance_weighs_patients():
    shares = np.array([[1.0, -2.0], [3.0, 0.0]])
    weights = np.array([[1, 1], [2, 0], [0, 3]])
    np.testing.assert_array_equal(resampled_importance(shares, weights), [[2, 1], [1, 2], [3, 0]])
    np.testing.assert_array_equal(rank_interval(np.array([[3.0, 1.0], [2.0, 1.0]])), [[1, 2], [1, 2]])


def test_rank_agreement_is_the_mean_over_pairs():
    importance = np.random.default_rng(1).random((3, 30))
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([spearmanr(importance[a], importance[b]).statistic for a, b in pairs])
    assert rank_agreement(importance) == pytest.approx(expected)
    assert rank_agreement(importance[:2]) == pytest.approx(spearmanr(importance[0], importance[1]).statistic)
