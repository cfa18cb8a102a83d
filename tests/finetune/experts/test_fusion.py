import itertools

import numpy as np
import pytest

from finetune.experts.fusion import Normal, patterns, rule


@pytest.fixture
def normal() -> Normal:
    root = np.random.default_rng(0).normal(size=(3, 3))
    return Normal(np.array([1.0, -1.0, 0.5]), root @ root.T + np.eye(3))


def scores_of(normal: Normal, patients: int) -> np.ndarray:
    return np.random.default_rng(1).multivariate_normal(normal.mean, normal.covariance, size=patients)


def test_missing_scores_are_the_conditional_expectation(normal: Normal):
    scores = np.array([[2.0, np.nan, 0.0]])
    present, missing = [0, 2], [1]
    slopes = normal.covariance[np.ix_(missing, present)] @ np.linalg.inv(normal.covariance[np.ix_(present, present)])
    wanted = normal.mean[missing] + slopes @ (scores[0, present] - normal.mean[present])
    np.testing.assert_allclose(normal.fill(scores), [[2.0, wanted[0], 0.0]], rtol=1e-12)


def test_moments_come_back_though_patients_lack_scores(normal: Normal):
    scores = scores_of(normal, 4000)
    known = np.random.default_rng(2).random(scores.shape) < 0.7
    known[~known.any(axis=1), 0] = True
    fitted = Normal.of(np.where(known, scores, np.nan))
    np.testing.assert_allclose(fitted.mean, normal.mean, atol=0.15)
    spread = np.sqrt(np.diagonal(fitted.covariance))
    pairs = known.T.astype(float) @ known
    shrunk = np.corrcoef(scores.T) * np.where(np.eye(3, dtype=bool), 1, pairs / (pairs + 200) / 1.05)
    np.testing.assert_allclose(fitted.covariance / np.outer(spread, spread), shrunk, atol=0.05)


def test_a_rule_is_the_combination_of_filled_scores(normal: Normal):
    weights, shift = np.array([0.5, 0.2, 1.0]), -0.3
    scores = scores_of(normal, 7)
    for pattern in map(np.array, itertools.product((False, True), repeat=3)):
        shown = np.where(pattern, scores, np.nan)
        combined = rule(normal, weights, shift, pattern)
        assert not combined.weights[~pattern].any()
        np.testing.assert_allclose(combined.apply(shown), normal.fill(shown) @ weights + shift, rtol=1e-10)


def test_patterns_deal_every_patient_once():
    scores = np.array([[1, np.nan], [np.nan, 2], [3, np.nan], [4, 5]])
    dealt = {tuple(pattern.tolist()): rows.tolist() for pattern, rows in patterns(scores)}
    assert dealt == {(True, False): [0, 2], (False, True): [1], (True, True): [3]}
