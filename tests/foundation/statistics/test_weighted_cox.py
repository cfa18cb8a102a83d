"""The weighted hazard ratio of hospitals' added tables against lifelines on all patients, and against definitions."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter

from foundation.errors import UserError
from foundation.statistics.grid import Grid
from foundation.statistics.table import total
from foundation.statistics.weighted_cox import WeightedRiskTable


def weighted(count: int, seed: int, ties: bool = False):
    """Event, time, arm, weight and hospital."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    chance = 1 / (1 + np.exp(-0.8 * x))
    arm = (rng.random(count) < chance).astype(float)
    weights = np.where(arm == 1, 1.0, chance / (1 - chance))
    time, end = rng.exponential(20 * np.exp(-x + 0.5 * arm)), rng.uniform(5, 60, count)
    event, time = (time <= end).astype(float), np.minimum(time, end)
    return event, np.ceil(time) if ties else time, arm, weights, rng.integers(0, 4, count)


def pooled_fit(event, time, arm, weights, robust: bool = True) -> CoxPHFitter:
    frame = pd.DataFrame({"t": time, "e": event, "arm": arm, "w": weights})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that weights are no whole numbers
        return CoxPHFitter().fit(frame, "t", "e", weights_col="w", robust=robust, fit_options={"precision": 1e-13})


@pytest.mark.parametrize("seed", range(4))
def test_hospitals_tables_in_one_message_give_lifelines_pooled_ratio_and_robust_error(seed: int):
    event, time, arm, weights, hospital = weighted(400, seed)
    times = Grid.of_events(event, time)
    parts = []
    for name in range(4):
        rows = hospital == name
        parts.append(WeightedRiskTable.from_patients(event[rows], time[rows], arm[rows], weights[rows], times))
    found = total(parts).hazard_ratio()
    fit = pooled_fit(event, time, arm, weights)
    assert found.value == pytest.approx(fit.params_["arm"], abs=1e-6)
    assert found.error == pytest.approx(fit.standard_errors_["arm"], abs=1e-6)


def test_tied_events_are_lifelines_by_efron():
    event, time, arm, weights, _ = weighted(300, 5, ties=True)
    found = WeightedRiskTable.from_patients(event, time, arm, weights, Grid.exact(time)).hazard_ratio()
    fit = pooled_fit(event, time, arm, weights)
    assert found.value == pytest.approx(fit.params_["arm"], abs=1e-6)
    # lifelines' residuals do not know of ties: its error depends on the order of rows.
    assert found.error == pytest.approx(fit.standard_errors_["arm"], rel=0.02)
    plain = WeightedRiskTable.from_patients(event, time, arm, np.ones(300), Grid.exact(time)).hazard_ratio()
    fit = pooled_fit(event, time, arm, np.ones(300), robust=False)
    assert (plain.value, plain.model_error) == pytest.approx(
        (fit.params_["arm"], fit.standard_errors_["arm"]), abs=1e-7
    )


def test_error_is_the_infinitesimal_jackknifes():
    """Residuals are what a little more weight of a patient does to the ratio (Efron 1982)."""
    event, time, arm, weights, _ = weighted(60, 6)
    times = Grid.exact(time)

    def ratio(values: np.ndarray) -> float:
        return WeightedRiskTable.from_patients(event, time, arm, values, times).hazard_ratio().value

    step, slopes = 1e-5, []
    for patient in range(60):
        more, less = weights.copy(), weights.copy()
        more[patient] += step
        less[patient] -= step
        slopes.append((ratio(more) - ratio(less)) / (2 * step) * weights[patient])
    found = WeightedRiskTable.from_patients(event, time, arm, weights, times).hazard_ratio()
    assert found.error == pytest.approx(np.linalg.norm(slopes), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_scaled_weights_change_nothing_and_swapped_arms_the_sign(seed: int, scale: float):
    event, time, arm, weights, _ = weighted(60, seed, ties=True)
    times = Grid.exact(time)
    one = WeightedRiskTable.from_patients(event, time, arm, weights, times)
    scaled = WeightedRiskTable.from_patients(event, time, arm, scale * weights, times)
    other = WeightedRiskTable.from_patients(event, time, 1 - arm, weights, times)
    if np.isfinite(one.hazard_ratio().value):
        assert scaled.hazard_ratio()[:2] == pytest.approx(one.hazard_ratio()[:2], rel=1e-7, abs=1e-9)
        assert other.hazard_ratio().value == pytest.approx(-one.hazard_ratio().value, abs=1e-9)
        assert other.hazard_ratio().error == pytest.approx(one.hazard_ratio().error, rel=1e-7)
    np.testing.assert_allclose(scaled.effective(), one.effective())


def test_effective_size_is_kishs_and_equal_weights_keep_everybody():
    event, time, arm, weights, _ = weighted(200, 7)
    table = WeightedRiskTable.from_patients(event, time, arm, weights, Grid.exact(time))
    for place in (0, 1):
        inside = weights[arm == place]
        assert table.effective()[place] == pytest.approx(inside.sum() ** 2 / (inside**2).sum())
    assert table.patients.tolist() == [[int((arm == 0).sum()), int((arm == 1).sum())]]


def test_an_arm_without_events_has_no_ratio_and_arms_of_other_numbers_are_refused():
    event, time, arm, weights, _ = weighted(50, 8)
    nobody = WeightedRiskTable.from_patients(event * arm, time, arm, weights, Grid.exact(time))
    assert np.isnan(nobody.hazard_ratio()).all()
    with pytest.raises(UserError, match="arms must be 1 or 0"):
        WeightedRiskTable.from_patients(event, time, arm + 1, weights, Grid.exact(time))


@pytest.mark.parametrize(
    ("arm", "weights"),
    [((0, 0, 1, 1), (1, 1, 1, 1)), ((1, 1, 0, 0), (1, 1, 1, 1)), ((0, 1, 0, 1), (0, 1, 0, 1))],
    ids=["monotone", "monotone the other way", "events that weigh nothing"],
)
def test_a_ratio_that_no_likelihood_bounds_is_undefined(arm: tuple[int, ...], weights: tuple[int, ...]):
    event, time = np.ones(4), np.array([1.0, 2, 5, 6])
    table = WeightedRiskTable.from_patients(event, time, np.array(arm), np.array(weights), Grid.of_events(event, time))
    assert np.isnan(table.hazard_ratio()).all()


def test_a_last_event_that_weighs_nothing_leaves_the_ratio_as_it_is():
    event, time, arm = np.ones(5), np.array([1.0, 2, 2, 3, 9]), np.array([0, 1, 0, 1, 1])
    times = Grid.of_events(event, time)
    with_it = WeightedRiskTable.from_patients(event, time, arm, np.array([1.0, 1, 1, 1, 0]), times).hazard_ratio()
    without = WeightedRiskTable.from_patients(event[:4], time[:4], arm[:4], np.ones(4), times).hazard_ratio()
    np.testing.assert_allclose(with_it, without)
