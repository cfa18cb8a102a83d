"""Effects on quantities and risks against statsmodels and against definitions."""

import numpy as np
import pytest

from finetune.trial.linear import ancova, risk_difference
from foundation.errors import UserError


def trial(count: int = 120, seed: int = 0):
    rng = np.random.default_rng(seed)
    x, arm = rng.normal(size=count), (rng.random(count) < 0.5).astype(float)
    outcome = 2 * x - 0.7 * arm + rng.normal(size=count) * (1 + np.abs(x))
    label = (rng.random(count) < 1 / (1 + np.exp(-(x - 0.5 * arm)))).astype(float)
    return outcome, label, arm, x[:, None]


def test_ancova_is_least_squares_with_hc3_errors_of_statsmodels():
    api = pytest.importorskip("statsmodels.api", reason="an oracle of the test requirements")
    outcome, _, arm, x = trial()
    fit = api.OLS(outcome, api.add_constant(np.column_stack([arm, x]))).fit(cov_type="HC3")
    effect = ancova(outcome, arm, x)
    assert (effect.value, effect.error, effect.z) == pytest.approx(
        (fit.params[1], fit.bse[1], fit.tvalues[1]), rel=1e-10
    )
    plain = ancova(outcome, arm, x[:, :0])
    assert plain.value == pytest.approx(outcome[arm == 1].mean() - outcome[arm == 0].mean(), rel=1e-12)
    assert plain.error > effect.error


def test_risk_difference_averages_statsmodels_logistic_model_over_all_patients():
    api = pytest.importorskip("statsmodels.api", reason="an oracle of the test requirements")
    _, label, arm, x = trial(300)
    fit = api.Logit(label, api.add_constant(np.column_stack([arm, x]))).fit(disp=0)
    predicted = [fit.predict(np.column_stack([np.ones(300), np.full(300, a), x])) for a in (1.0, 0.0)]
    effect = risk_difference(label, arm, x)
    assert effect.value == pytest.approx((predicted[0] - predicted[1]).mean(), abs=1e-8)
    plain = risk_difference(label, arm, x[:, :0])
    risks = [label[arm == a].mean() for a in (1, 0)]
    assert plain.value == pytest.approx(risks[0] - risks[1], abs=1e-9)
    usual = sum(risk * (1 - risk) / (arm == a).sum() for risk, a in zip(risks, (1, 0), strict=True))
    assert plain.error == pytest.approx(np.sqrt(usual), rel=0.01)
    assert effect.error < plain.error


def test_error_of_the_risk_difference_is_that_of_repeated_trials():
    effects = [
        risk_difference(*(data[place] for place in (1, 2, 3))) for data in (trial(200, seed) for seed in range(200))
    ]
    assert np.mean([one.error for one in effects]) == pytest.approx(np.std([one.value for one in effects]), rel=0.12)


def test_outcomes_fully_told_apart_and_arms_of_few_are_one_line():
    _, _, arm, x = trial()
    with pytest.raises(UserError, match="tell all outcomes apart"):
        risk_difference((x[:, 0] > 0).astype(float), arm, x)
    with pytest.raises(UserError, match="both arms need more than 3"):
        ancova(x[:, 0], np.eye(120)[0], x)
