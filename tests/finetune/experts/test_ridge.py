import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from sklearn.linear_model import LogisticRegression, Ridge

from finetune.experts.responses import Hazard, Label, Response, Value
from finetune.experts.ridge import cross_fit, hospital_folds, linear, ridge

PENALTY = 3.0


@pytest.fixture
def design() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(120, 4))


def responses(design: np.ndarray, seed: int = 0) -> dict[str, Response]:
    rng = np.random.default_rng(seed)
    risk = design @ np.linspace(1, -1, design.shape[1])
    time = np.ceil(rng.exponential(np.exp(-risk)) * 20)  # whole days: some are tied
    event = (rng.random(len(design)) < 0.7).astype(float)
    label = (risk + rng.logistic(size=len(design)) > 0).astype(float)
    return {"label": Label(label), "hazard": Hazard(event, time), "value": Value(risk + rng.normal(size=len(design)))}


def test_ridge_of_a_label_is_scikit_learns(design: np.ndarray):
    response = responses(design)["label"]
    beta = ridge(design, response, PENALTY)
    oracle = LogisticRegression(C=1 / PENALTY, tol=1e-10, max_iter=1000).fit(design, response.values)
    np.testing.assert_allclose(beta, [*oracle.coef_[0], oracle.intercept_[0]], atol=1e-5)


def test_ridge_of_a_value_is_scikit_learns(design: np.ndarray):
    response = responses(design)["value"]
    oracle = Ridge(alpha=PENALTY).fit(design, response.values)
    np.testing.assert_allclose(ridge(design, response, PENALTY), [*oracle.coef_, oracle.intercept_], atol=1e-6)


def test_ridge_of_a_hazard_is_that_of_lifelines_where_no_days_are_tied(design: np.ndarray):
    response = responses(design)["hazard"]
    time = response.time + np.linspace(0, 0.5, len(design))  # lifelines breaks ties by Efron, here by Breslow
    # lifelines' penalty is of the mean log-likelihood, and of covariates in units of their spread.
    standard = (design - design.mean(axis=0)) / design.std(axis=0, ddof=1)
    table = pd.DataFrame(standard).assign(event=response.event, time=time)
    oracle = CoxPHFitter(penalizer=PENALTY / len(design)).fit(table, "time", "event")
    beta = ridge(standard, Hazard(response.event, time), PENALTY)
    np.testing.assert_allclose(beta, [*oracle.params_, 0.0], atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["label", "hazard", "value"]))
def test_sums_are_the_derivatives_of_the_likelihood(seed: int, kind: str):
    design = np.random.default_rng(seed).normal(size=(30, 3))
    response = responses(design, seed)[kind]
    beta, step = np.array([0.3, -0.2, 0.1]), 1e-5
    sums = response.sums(design, beta)
    for index in range(3):
        ahead, behind = (response.sums(design, beta + sign * step * np.eye(3)[index]) for sign in (1, -1))
        slope = (ahead.log_likelihood - behind.log_likelihood) / (2 * step)
        bend = (ahead.gradient - behind.gradient) / (2 * step)
        np.testing.assert_allclose(sums.gradient[index], slope, atol=1e-4)
        np.testing.assert_allclose(-sums.information[index], bend, atol=1e-4)


@pytest.mark.parametrize("kind", ["label", "value"])
def test_sums_of_hospitals_add_up_to_the_pooled(design: np.ndarray, kind: str):
    response, beta = responses(design)[kind], np.array([0.3, -0.2, 0.1, 0.0])
    pooled = response.sums(design, beta)
    parts = [np.arange(0, 50), np.arange(50, 120)]
    added = [
        sum(values) for values in zip(*(response.of(part).sums(design[part], beta) for part in parts), strict=True)
    ]
    for ours, theirs in zip(pooled, added, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_scores_of_a_fold_do_not_depend_on_its_outcomes(design: np.ndarray):
    label = responses(design)["label"].values
    folds = hospital_folds(["a"] * 40 + ["b"] * 50 + ["c"] * 30)
    changed = label.copy()
    changed[folds[2]] = 1 - changed[folds[2]]
    one, other = (cross_fit([design] * len(folds), Label(values), folds, [PENALTY]) for values in (label, changed))
    np.testing.assert_array_equal(one.scores[folds[2]], other.scores[folds[2]])
    assert np.abs(one.scores[folds[0]] - other.scores[folds[0]]).max() > 1e-3


def test_a_large_penalty_is_chosen_where_there_is_nothing_to_learn():
    rng = np.random.default_rng(1)
    design, label = rng.normal(size=(200, 20)), rng.integers(2, size=200).astype(float)
    folds = hospital_folds(list("abcd") * 50)
    nothing = cross_fit([design] * len(folds), Label(label), folds)
    something = cross_fit(
        [design] * len(folds), Label((design[:, 0] * 3 + rng.logistic(size=200) > 0).astype(float)), folds
    )
    assert nothing.penalty > 10 > something.penalty


def test_fewer_than_three_hospitals_are_folded_at_random():
    folds = hospital_folds(["a"] * 10 + ["b"] * 10)
    assert len(folds) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(20))


def test_a_class_that_a_fit_lacks_leaves_finite_scores(design: np.ndarray):
    beta = ridge(design, Label(np.zeros(len(design))), PENALTY)
    assert np.isfinite(linear(design, beta)).all()
