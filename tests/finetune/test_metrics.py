"""Metrics against other implementations and the hand, and the bootstrap around them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from finetune.metrics import (
    area_under_curve,
    bootstrap,
    classification_metrics,
    defined,
    expected_calibration_error,
    survival_metrics,
)

NOTHING = {"value": None, "low": None, "high": None}
RNG = np.random.default_rng(0)
LABEL = (RNG.random(80) < 0.4).astype(float)
SCORE = np.clip(0.4 + 0.2 * LABEL + RNG.normal(0, 0.2, 80), 0, 1)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40))
def test_the_area_under_the_curve_is_that_of_sklearn_ties_included(rows):
    label, score = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if len(set(label)) < 2:
        assert not defined([label])
        return
    assert area_under_curve(label, score / 5) == pytest.approx(roc_auc_score(label, score), abs=1e-12)


def test_constant_scores_rank_like_chance():
    assert area_under_curve(np.array([0.0, 1, 1, 0]), np.full(4, 0.3)) == 0.5


def test_calibration_error_is_that_of_the_hand():
    label, probability = np.array([0.0, 1, 1, 1]), np.array([0.1, 0.15, 0.95, 1.0])
    # Bin 0.1-0.2: seen 0.5 against 0.125, two of four; bin 0.9-1: seen 1 against 0.975, the other two.
    assert expected_calibration_error(label, probability) == pytest.approx(0.375 / 2 + 0.025 / 2)
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 0


def test_the_concordance_index_rewards_the_higher_risk_of_the_earlier_death():
    c_index = survival_metrics()["c_index"]
    time, event = np.array([1.0, 2, 3, 4]), np.array([1.0, 1, 0, 1])
    assert c_index(event, time, np.array([4.0, 3, 2, 1])) == 1
    assert c_index(event, time, np.array([1.0, 2, 3, 4])) == 0
    # Five comparable pairs (the third patient is censored); one of them is the wrong way round.
    assert c_index(event, time, np.array([3.0, 4, 2, 1])) == pytest.approx(4 / 5)


def test_the_first_metric_is_the_primary_one():
    assert list(classification_metrics()) == ["auc", "auprc", "brier", "ece"]
    assert classification_metrics()["brier"](np.array([0.0, 1]), np.array([0.5, 0.5])) == pytest.approx(0.25)


def test_the_bootstrap_reproduces_by_seed():
    once, twice, other = (bootstrap(area_under_curve, [LABEL], [SCORE], 200, seed) for seed in (1, 1, 2))
    assert once == twice
    assert once["value"] == other["value"] == area_under_curve(LABEL, SCORE)
    assert (once["low"], once["high"]) != (other["low"], other["high"])


@pytest.mark.parametrize("name", ["auc", "auprc", "brier"])
def test_the_interval_holds_the_value_and_narrows_with_patients(name):
    metric = classification_metrics()[name]
    few = bootstrap(metric, [LABEL], [SCORE], 300, 0)
    many = bootstrap(metric, [np.tile(LABEL, 9)], [np.tile(SCORE, 9)], 300, 0)
    for found in (few, many):
        assert found["low"] < found["value"] < found["high"]
    assert few["value"] == pytest.approx(many["value"], abs=0.01)
    assert (many["high"] - many["low"]) / (few["high"] - few["low"]) == pytest.approx(1 / 3, abs=0.1)


def test_a_perfect_ranking_has_an_interval_of_no_width():
    assert bootstrap(area_under_curve, [LABEL], [LABEL], 50, 0) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_two_models_are_compared_on_the_same_resampled_patients():
    def gain(label, ours, theirs):
        return area_under_curve(label, ours) - area_under_curve(label, theirs)

    assert bootstrap(gain, [LABEL], [SCORE, SCORE], 50, 0) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_a_metric_of_one_outcome_is_not_defined():
    assert bootstrap(area_under_curve, [np.ones(5)], [SCORE[:5]], 10, 0) == NOTHING
    c_index, risk, time = survival_metrics()["c_index"], np.arange(3.0), np.array([1.0, 2, 3])
    assert bootstrap(c_index, [np.zeros(3), time], [risk], 10, 0) == NOTHING
    assert bootstrap(c_index, [np.array([0.0, 0, 1]), time], [risk], 10, 0) == NOTHING, "nobody outlived the event"
    assert bootstrap(c_index, [np.array([1.0, 0, 0]), time], [-risk], 10, 0)["value"] == 1
