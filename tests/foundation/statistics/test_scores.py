"""Figures of labels and scores against scikit-learn, statsmodels and dcurves, to 1e-9."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn import metrics

from foundation.errors import UserError
from foundation.statistics.comparison import holm, paired_bootstrap, paired_delong
from foundation.statistics.confusion import ConfusionTable
from foundation.statistics.grid import Grid
from foundation.statistics.logistic import calibration_line
from foundation.statistics.probabilities import ProbabilityTable
from foundation.statistics.regression import RegressionTable
from foundation.statistics.scores import PairedScoreTable, ScoreTable
from foundation.statistics.weights import poisson_weights
from tests.foundation.statistics.patients import SCORES, drawn

PATIENTS = drawn(300)
LABEL, P = PATIENTS.label, PATIENTS.probability
TABLE = ScoreTable.from_patients(LABEL, P, SCORES)
EXACT = {"rtol": 0, "atol": 1e-9}


def test_ranking_is_that_of_sklearn():
    assert TABLE.auroc()[0] == pytest.approx(metrics.roc_auc_score(LABEL, P), abs=1e-12)
    assert TABLE.auprc()[0] == pytest.approx(metrics.average_precision_score(LABEL, P), abs=1e-12)
    false, true, _ = metrics.roc_curve(LABEL, P, drop_intermediate=False)
    ours = set(zip(*(np.round(rate[0], 9) for rate in TABLE.roc()), strict=True))
    assert ours == set(zip(np.round(false, 9), np.round(true, 9), strict=True))
    for specificity in (0.0, 0.5, 0.9, 0.95, 1.0):
        expected = true[1 - false >= specificity - 1e-12].max()
        assert TABLE.sensitivity_at_specificity(specificity)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.77, 1.5])
def test_decisions_at_a_threshold_are_those_of_sklearn(threshold: float):
    decided = threshold <= P
    at = [int(count[0]) for count in TABLE.confusion(threshold)]
    assert at == metrics.confusion_matrix(LABEL, decided).ravel().tolist()
    assert TABLE.accuracy(threshold)[0] == pytest.approx(metrics.accuracy_score(LABEL, decided), abs=1e-12)
    expected = metrics.balanced_accuracy_score(LABEL, decided)
    assert TABLE.balanced_accuracy(threshold)[0] == pytest.approx(expected, abs=1e-12)
    assert TABLE.f1(threshold)[0] == pytest.approx(metrics.f1_score(LABEL, decided), abs=1e-12)


def naive_delong(label: np.ndarray, *scores: np.ndarray) -> np.ndarray:
    """Covariance of AUROCs from every pair of patients."""
    wins = [
        (score[label == 1][:, None] > score[label == 0]) + 0.5 * (score[label == 1][:, None] == score[label == 0])
        for score in scores
    ]
    of_positives = np.cov([win.mean(axis=1) for win in wins]) / (label == 1).sum()
    return np.asarray(of_positives + np.cov([win.mean(axis=0) for win in wins]) / (label == 0).sum())


def test_delong_is_the_covariance_over_all_pairs():
    covariance = naive_delong(LABEL, P, PATIENTS.other)
    assert TABLE.delong_variance()[0] == pytest.approx(covariance[0, 0], abs=1e-12)
    table = PairedScoreTable.from_patients(LABEL, P, PATIENTS.other, SCORES, SCORES)
    expected = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert table.difference_variance()[0] == pytest.approx(expected, abs=1e-12)
    test = paired_delong(table)
    gap = metrics.roc_auc_score(LABEL, P) - metrics.roc_auc_score(LABEL, PATIENTS.other)
    assert test.value == pytest.approx(gap, abs=1e-12)
    assert test.high - test.low == pytest.approx(2 * 1.959963985 * np.sqrt(expected), abs=1e-9)


@pytest.mark.parametrize("cells", [5, 20, 100])
def test_bounds_of_a_coarse_grid_hold_the_area_before_rounding(cells: int):
    patients = drawn(400, seed=3, ties=False)
    low, high = ScoreTable.from_patients(
        patients.label, patients.probability, Grid.steps(0, 1, 1 / cells)
    ).auroc_bounds()
    assert low[0] <= metrics.roc_auc_score(patients.label, patients.probability) <= high[0]
    assert high[0] - low[0] < 4 / cells


def test_probabilities_are_judged_as_by_sklearn():
    table = ProbabilityTable.from_patients(LABEL, P)
    assert table.brier()[0] == pytest.approx(metrics.brier_score_loss(LABEL, P), abs=1e-12)
    assert table.log_loss()[0] == pytest.approx(metrics.log_loss(LABEL, P), abs=1e-12)
    assert table.observed_to_expected()[0] == pytest.approx(LABEL.sum() / P.sum(), abs=1e-12)
    curve = table.calibration_curve()
    assert curve.patients.sum() == len(P)
    gaps = np.nan_to_num(np.abs(curve.predicted - curve.observed)) * curve.patients / len(P)
    assert table.ece()[0] == pytest.approx(gaps.sum(), abs=1e-12)


def test_certain_errors_cost_as_in_sklearn():
    label, p = np.array([0.0, 1, 1]), np.array([1.0, 0, 1])
    expected = metrics.log_loss(label, p)
    assert ProbabilityTable.from_patients(label, p).log_loss()[0] == pytest.approx(expected, rel=1e-12)


def test_net_benefit_is_that_of_dcurves():
    dcurves = pytest.importorskip("dcurves", reason="an oracle of the test requirements")
    rows = pd.DataFrame({"label": LABEL.astype(int), "model": P})
    thresholds = (0.05, 0.2, 0.37, 0.5, 0.8)
    theirs = dcurves.dca(data=rows, outcome="label", modelnames=["model"], thresholds=thresholds)
    curve = ProbabilityTable.from_patients(LABEL, P, thresholds=thresholds).decision_curve()
    for name, ours in (("model", curve.model), ("all", curve.treat_all)):
        expected = theirs[theirs["model"] == name].sort_values("threshold")["net_benefit"]
        np.testing.assert_allclose(ours[0], expected, **EXACT)


def test_the_calibration_line_is_that_of_statsmodels():
    api = pytest.importorskip("statsmodels.api", reason="an oracle of the test requirements")
    inside = np.clip(P, 0.01, 0.99)
    slope, intercept, large = calibration_line(ScoreTable.from_patients(LABEL, inside, SCORES))
    fit = api.GLM(LABEL, api.add_constant(logit(inside)), family=api.families.Binomial()).fit(tol=1e-14, maxiter=100)
    np.testing.assert_allclose([intercept[0], slope[0]], fit.params, **EXACT)
    alone = api.GLM(LABEL, np.ones(len(P)), family=api.families.Binomial(), offset=logit(inside)).fit(tol=1e-14)
    assert large[0] == pytest.approx(alone.params[0], abs=1e-9)


def test_several_classes_are_judged_as_by_sklearn():
    rng = np.random.default_rng(1)
    label, p = rng.integers(0, 3, 90).astype(float), rng.dirichlet(np.ones(3), 90)
    table, top = ConfusionTable.from_patients(label, p), p.argmax(axis=1)
    expected = {
        "accuracy": metrics.accuracy_score(label, top),
        "balanced_accuracy": metrics.balanced_accuracy_score(label, top),
        "f1_macro": metrics.f1_score(label, top, average="macro"),
        "log_loss": metrics.log_loss(label, p),
        "brier": ((p - np.eye(3)[label.astype(int)]) ** 2).sum(axis=1).mean(),
    }
    for name, value in expected.items():
        assert getattr(table, name)()[0] == pytest.approx(value, abs=1e-12), name
    assert np.isnan(ConfusionTable.from_patients(label[label < 2], p[label < 2]).balanced_accuracy()).all()


def test_quantities_are_judged_as_by_sklearn():
    rng = np.random.default_rng(2)
    observed = rng.normal(1e6, 3, 80)
    predicted = observed + rng.normal(0.5, 2, 80)
    table = RegressionTable.from_patients(observed, predicted, centre=1e6)
    assert table.mae()[0] == pytest.approx(metrics.mean_absolute_error(observed, predicted), abs=1e-9)
    assert table.rmse()[0] == pytest.approx(metrics.root_mean_squared_error(observed, predicted), abs=1e-9)
    assert table.r2()[0] == pytest.approx(metrics.r2_score(observed, predicted), abs=1e-9)
    assert table.pearson()[0] == pytest.approx(np.corrcoef(observed, predicted)[0, 1], abs=1e-9)


def test_what_one_outcome_cannot_tell_is_not_defined():
    ones = ScoreTable.from_patients(np.ones(5), P[:5], SCORES)
    for value in (ones.auroc(), ones.auprc(), ones.delong_variance(), ones.sensitivity_at_specificity(0.9)):
        assert np.isnan(value).all()
    nobody = ProbabilityTable.from_patients(np.full(3, np.nan), P[:3])
    for value in (nobody.brier(), nobody.ece(), nobody.observed_to_expected()):
        assert np.isnan(value).all()
    apart = ScoreTable.from_patients(np.array([0.0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]), SCORES)
    assert np.isnan(calibration_line(apart)[0]).all(), "no finite slope where a threshold parts them"


def test_a_probability_outside_zero_to_one_is_one_line():
    with pytest.raises(UserError, match="a probability is outside 0 to 1; give probabilities, not scores"):
        ProbabilityTable.from_patients([0, 1], [0.5, 1.5])
    with pytest.raises(UserError, match="score holds a value that is not finite; leave such patients out"):
        ScoreTable.from_patients([0, 1], [0.5, np.nan], SCORES)


def test_a_model_is_compared_on_the_same_replicates():
    weights = poisson_weights(PATIENTS.ids, 400, "seed 0")
    one, other = (ScoreTable.from_patients(LABEL, p, SCORES, weights).auroc() for p in (P, PATIENTS.other))
    test = paired_bootstrap(one, other)
    exact = paired_delong(PairedScoreTable.from_patients(LABEL, P, PATIENTS.other, SCORES, SCORES))
    assert test.value == pytest.approx(exact.value, abs=1e-12)
    assert [test.low, test.high] == pytest.approx([exact.low, exact.high], abs=0.02)
    same = paired_bootstrap(one, one)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="an oracle of the test requirements")
    values = {"a": 0.04, "b": 0.001, "c": 0.03, "d": 0.9, "e": 0.012}
    expected = multitest.multipletests(list(values.values()), method="holm")[1]
    assert list(holm(values)) == list(values)
    np.testing.assert_allclose(list(holm(values).values()), expected, **EXACT)
