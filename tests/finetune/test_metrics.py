"""Metrics against other implementations and the hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from finetune.heads.survival import Survival
from finetune.metrics import (
    area_under_curve,
    binary_metrics,
    both_outcomes,
    expected_calibration_error,
    multiclass_metrics,
)

BINARY = binary_metrics()
AUC = BINARY["auc"]
C_INDEX = Survival(4).metrics()["c_index"]

RNG = np.random.default_rng(0)
LABEL = (RNG.random(80) < 0.4).astype(float)
SCORE = np.clip(0.4 + 0.2 * LABEL + RNG.normal(0, 0.2, 80), 0, 1)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40))
def test_the_area_under_the_curve_is_that_of_sklearn_ties_included(rows):
    label, score = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if len(set(label)) < 2:
        assert not both_outcomes(label)
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
    c_index = C_INDEX.value
    time, event = np.array([1.0, 2, 3, 4]), np.array([1.0, 1, 0, 1])
    assert c_index(event, time, np.array([4.0, 3, 2, 1])) == 1
    assert c_index(event, time, np.array([1.0, 2, 3, 4])) == 0
    # Five comparable pairs (the third patient is censored); one of them is the wrong way round.
    assert c_index(event, time, np.array([3.0, 4, 2, 1])) == pytest.approx(4 / 5)


def test_the_first_metric_is_the_primary_one():
    assert list(BINARY) == ["auc", "auprc", "brier", "ece"]
    assert BINARY["brier"].value(np.array([0.0, 1]), np.array([0.5, 0.5])) == pytest.approx(0.25)


def test_a_metric_of_one_outcome_is_not_defined():
    assert not AUC.defined(np.ones(5))
    time = np.array([1.0, 2, 3])
    assert not C_INDEX.defined(np.zeros(3), time)
    assert not C_INDEX.defined(np.array([0.0, 0, 1]), time), "nobody outlived the event"
    assert C_INDEX.defined(np.array([1.0, 0, 0]), time)


GRADES = ["G2", "G3", "G4"]
MULTICLASS = multiclass_metrics(GRADES)
CLASS = RNG.integers(0, 3, 80).astype(float)
PROBABILITIES = RNG.dirichlet(np.ones(3), 80) + 0.5 * np.eye(3)[CLASS.astype(int)]
PROBABILITIES /= PROBABILITIES.sum(axis=1, keepdims=True)


def test_a_perfect_classifier_of_three_classes_has_perfect_metrics():
    perfect = np.eye(3)[CLASS.astype(int)]
    values = {name: metric.value(CLASS, perfect) for name, metric in MULTICLASS.items()}
    for name in ("auc", "auc/G2", "auc/G3", "auc/G4", "accuracy", "balanced_accuracy"):
        assert values[name] == 1
    for name in ("brier", "ece", "log_loss"):
        assert values[name] == pytest.approx(0, abs=1e-9)


def test_metrics_of_three_classes_are_those_of_sklearn():
    values = {name: metric.value(CLASS, PROBABILITIES) for name, metric in MULTICLASS.items()}
    assert next(iter(values)) == "auc"
    assert values["auc"] == pytest.approx(roc_auc_score(CLASS, PROBABILITIES, multi_class="ovr", average="macro"))
    assert values["auc/G3"] == pytest.approx(roc_auc_score(CLASS == 1, PROBABILITIES[:, 1]))
    assert values["brier"] == pytest.approx(((PROBABILITIES - np.eye(3)[CLASS.astype(int)]) ** 2).sum(axis=1).mean())
    assert values["log_loss"] == pytest.approx(log_loss(CLASS, PROBABILITIES))
    top = PROBABILITIES.argmax(axis=1)
    assert values["accuracy"] == (top == CLASS).mean()
    assert values["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(CLASS, top))
    assert values["ece"] == expected_calibration_error((top == CLASS).astype(float), PROBABILITIES.max(axis=1))


@pytest.mark.filterwarnings("error")
def test_probabilities_of_a_softmax_in_float32_are_taken():
    rounded = PROBABILITIES.astype(np.float32).astype(np.float64)
    for name in ("brier", "log_loss"):
        assert MULTICLASS[name].value(CLASS, rounded) == pytest.approx(MULTICLASS[name].value(CLASS, PROBABILITIES))


def test_where_a_class_is_missing_what_averages_over_classes_is_not_defined():
    two = CLASS < 2
    undefined = [name for name, metric in MULTICLASS.items() if not metric.defined(CLASS[two])]
    assert undefined == ["auc", "balanced_accuracy", "auc/G4"]
