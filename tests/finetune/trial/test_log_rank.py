"""The adjusted log-rank test against R's figures, lifelines, the paper's formulas patient by patient, and counting."""

import math

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.datasets import load_lung
from lifelines.statistics import logrank_test

from finetune.trial.log_rank import RiskSets, adjusted_log_rank, log_rank
from foundation.errors import UserError


def trial(count: int, seed: int, strength: float = 1.0, theta: float = 0.0, ties: bool = False):
    """Event, time, arm and a prognostic covariate of a randomised trial."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    arm = (rng.random(count) < 0.4).astype(float)
    time = rng.exponential(20 * np.exp(-strength * x - theta * arm))
    end = rng.uniform(5, 60, count)
    event, time = (time <= end).astype(float), np.minimum(time, end)
    return event, np.ceil(time) if ties else time, arm, x


def test_log_rank_is_that_of_robincar2_on_the_lung_patients():
    """R package RobinCar2 0.1.1, its published test figures: men against women, ties and all."""
    lung = load_lung()
    event, men = (lung["status"] == 1).to_numpy(float), (lung["sex"] == 1).to_numpy(float)
    time = lung["time"].to_numpy(float)
    sets = RiskSets(event, time, men)
    assert sets.score() == pytest.approx(0.0895537761860842, abs=1e-13)
    assert sets.variance() == pytest.approx(0.17706769289317, abs=1e-13)
    effect = log_rank(event, time, men)
    assert effect.z == pytest.approx(3.21352484896035, abs=1e-12)
    assert effect.p == pytest.approx(0.0013111645203555, abs=1e-12)
    assert effect.value == pytest.approx(0.530397994806822, abs=2e-6)
    assert effect.error == pytest.approx(0.167180879290955, abs=1e-6)


@pytest.mark.parametrize("ties", [True, False])
def test_unadjusted_test_and_hazard_ratio_are_those_of_lifelines(ties: bool):
    event, time, arm, _ = trial(150, 3, theta=-0.6, ties=ties)
    effect = log_rank(event, time, arm)
    expected = logrank_test(time[arm == 1], time[arm == 0], event[arm == 1], event[arm == 0])
    assert effect.z**2 == pytest.approx(expected.test_statistic, rel=1e-9)
    if not ties:
        fit = CoxPHFitter().fit(
            pd.DataFrame({"t": time, "e": event, "arm": arm}), "t", "e", fit_options={"precision": 1e-12}
        )
        assert effect.value == pytest.approx(fit.params_["arm"], abs=1e-6)
        assert effect.error == pytest.approx(fit.standard_errors_["arm"], abs=1e-6)


def by_hand(event, time, arm, x):
    """Statistic of Ye, Shao and Yi (2024), sec. 3: derived outcomes patient by patient, no shortcuts."""
    n, derived = len(event), np.zeros(len(event))
    variance = 0.0
    moments = np.unique(time[event == 1])
    for i in range(n):
        for t in moments:
            y1, y0 = ((time >= t) & (arm == 1)).sum(), ((time >= t) & (arm == 0)).sum()
            hazard = ((time == t) & (event == 1)).sum() / (y1 + y0)
            mine = float(event[i] == 1 and time[i] == t) - float(time[i] >= t) * hazard
            derived[i] += (y0 if arm[i] else y1) / (y1 + y0) * mine
    for t in moments:
        y1, y0 = ((time >= t) & (arm == 1)).sum(), ((time >= t) & (arm == 0)).sum()
        variance += y1 * y0 / (y1 + y0) ** 2 * ((time == t) & (event == 1)).sum() / n
    pi = arm.mean()
    beta = [np.cov(x[arm == a], derived[arm == a])[0, 1] / np.var(x[arm == a], ddof=1) for a in (1, 0)]
    away = x - x.mean()
    u = np.mean(np.where(arm == 1, derived - away * beta[0], -(derived - away * beta[1])))
    return math.sqrt(n) * u / math.sqrt(variance - pi * (1 - pi) * (sum(beta)) ** 2 * away.var())


def test_adjusted_statistic_is_that_of_the_papers_formulas():
    event, time, arm, x = trial(90, 4, theta=-0.4)
    assert adjusted_log_rank(event, time, arm, x[:, None]).z == pytest.approx(by_hand(event, time, arm, x), abs=1e-10)


def test_a_covariate_that_says_nothing_changes_nothing_and_the_arms_may_be_swapped():
    event, time, arm, x = trial(400, 5, theta=0.3)
    plain = log_rank(event, time, arm)
    constant = adjusted_log_rank(event, time, arm, np.ones((400, 1)))
    assert (constant.z, constant.value) == pytest.approx((plain.z, plain.value), abs=1e-9)
    one, other = adjusted_log_rank(event, time, arm, x[:, None]), adjusted_log_rank(event, time, 1 - arm, x[:, None])
    assert (one.z, one.value, one.error) == pytest.approx((-other.z, -other.value, other.error), abs=1e-9)
    moved = adjusted_log_rank(event, time, arm, 7 - 3 * x[:, None])
    assert (one.z, one.value, one.error) == pytest.approx((moved.z, moved.value, moved.error), abs=1e-9)


def test_adjustment_keeps_the_effect_and_its_error_is_that_of_repeated_trials():
    """The marginal hazard ratio is not 1 to the covariate's taste: both estimators aim at the same number."""
    pairs = [(log_rank(*data[:3]), adjusted_log_rank(*data[:3], data[3][:, None])) for data in
             (trial(300, seed, strength=1.0, theta=-0.5) for seed in range(150))]  # fmt: skip
    plain, adjusted = (np.array([[pair[k].value, pair[k].error] for pair in pairs]) for k in (0, 1))
    assert plain[:, 0].mean() == pytest.approx(adjusted[:, 0].mean(), abs=0.03)
    assert adjusted[:, 0].std() < 0.85 * plain[:, 0].std()
    for values in (plain, adjusted):
        assert values[:, 1].mean() == pytest.approx(values[:, 0].std(), rel=0.15)


def test_no_event_or_one_arm_is_one_line():
    event, time, arm, x = trial(20, 0)
    with pytest.raises(UserError, match="needs an event, and patients in both arms"):
        log_rank(np.zeros(20), time, arm)
    with pytest.raises(UserError, match="needs an event, and patients in both arms"):
        adjusted_log_rank(event, time, np.ones(20), x[:, None])
    with pytest.raises(UserError, match="fewer patients in an arm than covariates"):
        adjusted_log_rank(event, time, arm, np.random.default_rng(0).normal(size=(20, 12)))
