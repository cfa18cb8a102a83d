"""Tests against permuted labels beside scipy, statsmodels and lifelines; planted markers, and none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from scipy.stats import permutation_test as scipy_permutation_test
from statsmodels.stats.multitest import multipletests

from finetune.biomarkers import permutation
from finetune.biomarkers.permutation import correlation_test, permutation_test
from finetune.trial.prognosis import martingale_residuals


def test_p_and_z_are_those_of_scipy_where_all_permutations_can_be_drawn():
    rng = np.random.default_rng(0)
    values, residual = rng.normal(size=(7, 3)), rng.integers(0, 2, 7).astype(float)
    tested = permutation_test(values, residual, ["a"] * 7, 20000, 0)
    for place in range(3):
        exact = scipy_permutation_test(
            (residual,), lambda r, x=values[:, place]: r @ (x - x.mean()), permutation_type="pairings",
            alternative="greater", n_resamples=np.inf,
        )  # fmt: skip
        assert tested.p[place] == pytest.approx(exact.pvalue, abs=0.015)
        assert tested.z[place] == pytest.approx(exact.statistic / exact.null_distribution.std(), rel=1e-9)


def test_p_within_hospitals_is_that_of_all_products_of_permutations():
    values = np.array([[0.0], [1.0], [3.0], [10.0], [12.0]])
    residual = np.array([0.0, 0.0, 1.0, 0.0, 1.0])
    tested = permutation_test(values, residual, ["a", "a", "a", "b", "b"], 5000, 1)
    # 3 places of the label at a, 2 at b: only the observed one has the largest sum.
    assert tested.p[0] == pytest.approx(1 / 6, abs=0.02)


def test_q_is_that_of_statsmodels_and_maxt_lies_between_p_and_bonferroni():
    rng = np.random.default_rng(2)
    residual = rng.normal(size=60)
    values = rng.normal(size=(60, 40)) + 0.5 * residual[:, None] * (np.arange(40) < 5)
    tested = permutation_test(values, residual, ["a", "b", "c"] * 20, 999, 0)
    np.testing.assert_allclose(tested.q, multipletests(tested.p, method="fdr_bh")[1])
    assert (tested.adjusted >= tested.p).all() and (tested.adjusted <= np.minimum(1, 40 * tested.p) + 0.05).all()


def test_the_statistic_of_survival_is_the_score_of_coxs_model():
    rng = np.random.default_rng(3)
    x, time = rng.normal(size=80), np.arange(1.0, 81.0)
    event = (rng.random(80) < 0.6).astype(float)
    residual = martingale_residuals(event, time)
    step = 1e-5
    model = CoxPHFitter()
    frame = __import__("pandas").DataFrame({"x": x, "t": time, "e": event})
    model.fit(frame, "t", "e")

    def likelihood(beta: float) -> float:
        score = beta * x
        return sum(score[i] - np.log(np.exp(score[time >= time[i]]).sum()) for i in np.flatnonzero(event))

    assert likelihood(float(model.params_["x"])) == pytest.approx(model.log_likelihood_, rel=1e-6)
    slope = (likelihood(step) - likelihood(-step)) / (2 * step)
    assert residual @ x == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("test", [permutation_test, correlation_test])
def test_permutations_are_counted_as_they_are_drawn_and_not_kept(test, monkeypatch):
    rng = np.random.default_rng(4)
    values, strata = rng.normal(size=(30, 12)), ["a", "b", "c"] * 10
    second = rng.normal(size=30) if test is permutation_test else rng.normal(size=(30, 12))
    blocks: list[np.ndarray] = []
    judged = permutation._judged

    def keeping(z, null, tested, size):
        def copied():
            for block in null:
                blocks.append(block.copy())
                yield block

        return judged(z, copied(), tested, size)

    monkeypatch.setattr(permutation, "_judged", keeping)
    result = test(values, second, strata, 1200, 0)
    result = result if test is permutation_test else result[0]
    assert max(map(len, blocks)) <= 500 < 1200 == sum(map(len, blocks))
    null = np.concatenate(blocks)
    z = result.z.astype(np.float32)
    np.testing.assert_allclose(result.p, (1 + (null >= z - 1e-5).sum(axis=0)) / 1201, atol=2e-3)
    np.testing.assert_allclose(
        result.adjusted, (1 + (null.max(axis=1)[:, None] >= z - 1e-5).sum(axis=0)) / 1201, atol=2e-3
    )
    again = (null[None] >= null[:200, None] - 1e-5).sum(axis=1) / 1200
    np.testing.assert_allclose(result.permuted, again, atol=2e-3)


def test_what_only_tells_the_hospital_is_no_discovery():
    rng = np.random.default_rng(4)
    hospitals = np.repeat(["a", "b", "c"], 50)
    rate = np.repeat([0.1, 0.5, 0.9], 50)
    residual = (rng.random(150) < rate).astype(float)
    values = np.column_stack([rate + rng.normal(0, 0.01, 150), residual + rng.normal(0, 0.5, 150), np.ones(150)])
    tested = permutation_test(values, residual, hospitals, 1999, 0)
    assert tested.p[0] > 0.05 and tested.p[1] < 0.001 and np.isnan(tested.p[2])
    assert permutation_test(values, residual, ["all"] * 150, 1999, 0).p[0] < 0.001


def test_permuted_labels_give_the_nominal_share_of_discoveries():
    """Under no effect a rate of false discoveries of 10 % is a chance of 10 % of any; 400 data sets, SE 1.5 %."""
    rng = np.random.default_rng(5)
    alarms = []
    for seed in range(400):
        values, residual = rng.normal(size=(40, 10)), (rng.random(40) < 0.4).astype(float)
        tested = permutation_test(values, residual, np.repeat(["a", "b"], 20), 399, seed)
        alarms.append(tested.discoveries(0.1).any())
    assert 0.05 < np.mean(alarms) < 0.15


def test_false_discoveries_among_planted_markers_stay_at_the_level():
    """Half of candidates planted: the mean share of false ones is level times the share of nulls (here 0.1 of 0.2)."""
    rng = np.random.default_rng(6)
    shares, power = [], []
    for seed in range(60):
        residual = rng.normal(size=60)
        values = rng.normal(size=(60, 40)) + 0.8 * residual[:, None] * (np.arange(40) < 20)
        chosen = permutation_test(values, residual, np.repeat(["a", "b"], 30), 999, seed).discoveries(0.2)
        shares.append(chosen[20:].sum() / max(1, chosen.sum()))
        power.append(chosen[:20].mean())
    assert 0.06 < np.mean(shares) < 0.14 and np.mean(power) > 0.9


def test_the_procedure_applied_to_permuted_labels_alarms_as_it_should():
    rng = np.random.default_rng(7)
    residual = rng.normal(size=80)
    values = rng.normal(size=(80, 8)) + residual[:, None] * (np.arange(8) < 4)
    tested = permutation_test(values, residual, np.repeat(["a", "b"], 40), 1999, 0)
    assert tested.discoveries(0.1)[:4].all()
    assert 0.03 < (tested.false_alarms(0.1) > 0).mean() < 0.17


@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(-5, 5))
@settings(max_examples=25, deadline=None)
def test_units_and_missing_patients_change_nothing(seed: int, scale: float, shift: float):
    rng = np.random.default_rng(seed)
    values, residual = rng.normal(size=(20, 4)), rng.normal(size=20)
    values[rng.random(values.shape) < 0.2] = np.nan
    strata = np.repeat(["a", "b"], 10)
    first = permutation_test(values, residual, strata, 99, 0)
    second = permutation_test(values * scale + shift, residual * scale, strata, 99, 0)
    np.testing.assert_allclose(first.z, second.z, atol=1e-6)
    np.testing.assert_allclose(first.p, second.p, atol=0.011)
