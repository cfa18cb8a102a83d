"""An external control arm: weights, balance, and what confounding alone makes of no effect."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from finetune.trial.external import ExternalControl, _by_hospital
from finetune.trial.propensity import (
    design_of,
    propensity,
    standardised_differences,
    weighted_difference,
    weights_of,
)
from foundation.errors import UserError
from foundation.statistics.logistic import logistic_sums
from foundation.statistics.newton import Newton
from foundation.statistics.table import total


def confounded(count: int = 3000, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2))
    chance = 1 / (1 + np.exp(-(x @ [0.9, -0.4])))
    return x, (rng.random(count) < chance).astype(float), chance


def test_propensity_is_logistic_regression_and_hospitals_sums_give_the_same():
    x, arm, truth = confounded()
    found = propensity(x, arm)
    assert np.corrcoef(found, truth)[0, 1] > 0.99
    hospital = np.arange(len(arm)) % 4
    newton = Newton(3, ridge=1e-3)
    full = np.column_stack([np.ones(len(arm)), x])
    while not newton.done:
        newton.update(total(logistic_sums(full[hospital == k], arm[hospital == k], newton.beta) for k in range(4)))
    np.testing.assert_allclose(1 / (1 + np.exp(-full @ newton.beta[0])), found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("estimand", ["treated", "all", "overlap"])
def test_weights_balance_the_arms(estimand: str):
    x, arm, _ = confounded()
    weights = weights_of(propensity(x, arm), arm, estimand)
    assert np.abs(standardised_differences(x, arm, np.ones(len(arm)))).max() > 0.5
    # Overlap weights of a logistic model balance its covariates exactly (Li, Morgan & Zaslavsky 2018), but for a ridge.
    assert np.abs(standardised_differences(x, arm, weights)).max() < (1e-4 if estimand == "overlap" else 0.1)
    if estimand == "treated":
        assert (weights[arm == 1] == 1).all()
        assert weights[arm == 0].sum() == pytest.approx(arm.sum(), rel=0.05)


def test_standardised_differences_and_robust_errors_follow_their_definitions():
    x, arm, _ = confounded(50)
    ones = np.ones(50)
    gap = x[arm == 1].mean(axis=0) - x[arm == 0].mean(axis=0)
    spread = np.sqrt((x[arm == 1].var(axis=0, ddof=1) + x[arm == 0].var(axis=0, ddof=1)) / 2)
    np.testing.assert_allclose(standardised_differences(x, arm, ones), gap / spread)
    value, error = weighted_difference(x[:, 0], arm, ones)
    assert value == pytest.approx(gap[0])
    assert error**2 == pytest.approx(sum(x[arm == a, 0].var() / (arm == a).sum() for a in (0, 1)))


def test_covariates_become_numbers_and_unknown_ones_say_so():
    table = pd.DataFrame({"age": [50.0, None, 70.0], "sex": ["F", "M", None], "same": [1, 1, 1]}, index=list("abc"))
    design = design_of(table, ["age", "sex", "same"])
    assert list(design) == ["age", "age unknown", "sex M", "sex unknown"]
    assert design["age"].iloc[1] == 0
    assert design["sex M"].tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="none of same varies"):
        design_of(table, ["same"])


@pytest.fixture
def confounded_run(scored):
    """The cohort, whose patients of a high score were mostly treated, without any effect."""
    rng = np.random.default_rng(1)
    known = scored.known("os_event", "os_days")
    score = (known.score - known.score.mean()) / known.score.std()
    arm = (rng.random(len(score)) < 1 / (1 + np.exp(-score))).astype(float)
    return replace(known, table=known.table.assign(arm=arm, coin=rng.integers(0, 2, len(score))))


def test_weights_take_confounding_off_the_hazard_ratio(confounded_run):
    tool = ExternalControl(arm="arm", covariates=["score", "age", "sex"], negative_control="coin", estimand="overlap")
    page = tool.run(confounded_run, 0)
    figures = {name.removeprefix("external_control/"): figure for name, figure in page.figures.items()}
    weighted, plain = figures["hazard_ratio/weighted"], figures["hazard_ratio/unweighted"]
    assert plain.low > 1 > weighted.low
    assert weighted.value < plain.value
    assert figures["largest_difference/after"].value < 0.01 < figures["largest_difference/before"].value
    assert figures["effective/controls"].value < figures["effective/controls"].n
    assert figures["negative_control/weighted_p"].value > 0.05
    assert 0 < figures["overlap"].value <= 1
    assert "balanced" in page.lead[1]


def test_hospitals_tables_add_up_to_one_table_of_all(confounded_run):
    tool = ExternalControl(arm="arm")
    arms = tool.arms(confounded_run)
    one_place = replace(arms, scored=replace(confounded_run, table=confounded_run.table.assign(hospital="all")))
    parts, whole = tool.tables(arms, arms.weights), tool.tables(one_place, arms.weights)
    assert len(parts) > 2 and len(whole) == 1
    assert total(parts).hazard_ratio() == pytest.approx(whole[0].hazard_ratio(), abs=1e-12)


def test_hospitals_may_be_the_treated_and_few_patients_are_no_number(confounded_run):
    page = ExternalControl(treated_hospitals=[confounded_run.hospitals[0]]).run(confounded_run, 0)
    assert f"{confounded_run.hospitals.count(confounded_run.hospitals[0])} treated" in page.lead[0]


def test_few_events_of_an_arm_are_no_ratio_and_few_patients_no_arm(confounded_run):
    event, _ = confounded_run.survival()
    table = confounded_run.table.assign(arm=0.0)
    events = table.index[table[event] == 1]
    table.loc[[*events[:3], *table.index[table[event] == 0][:9]], "arm"] = 1.0
    figure = (
        ExternalControl(arm="arm")
        .run(replace(confounded_run, table=table), 0)
        .figures["external_control/hazard_ratio/weighted"]
    )
    assert (figure.value, figure.outcomes, figure.reason) == (None, {}, "fewer than 5 treated with the event")
    table["arm"] = np.arange(len(table)) < 4
    with pytest.raises(UserError, match=r"^tool\.arm: an arm has fewer than 5 patients"):
        ExternalControl(arm="arm").arms(replace(confounded_run, table=table.astype({"arm": float})))


def test_a_small_arm_of_a_hospital_does_not_follow_from_the_arms_totals(confounded_run):
    n = len(confounded_run.table)
    hospital = np.array(["small"] * 13 + ["first"] * 20 + ["second"] * (n - 33))
    arm = np.array([1.0] * 3 + [0.0] * 10 + [1.0, 0.0] * 10 + [1.0] * 9 + [0.0] * (n - 42))
    few = replace(confounded_run, table=confounded_run.table.assign(hospital=hospital, arm=arm))
    table = _by_hospital(ExternalControl(arm="arm").arms(few))
    assert table.loc["small"].tolist() == ["hidden", "hidden"]
    assert table.loc["second"].tolist() == ["hidden", "hidden"]  # else the treated less those shown would be the three
    assert table.loc["first"].tolist() == ["10", "10"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "tool.arm: name a column"),
        ({"arm": "arm", "treated_hospitals": ["x"]}, "and not both"),
        ({"treated_hospitals": ["nowhere"]}, "no patient of 'nowhere'"),
        ({"arm": "score"}, "needs both, treated"),
        ({"arm": "arm", "covariates": ["os_days"]}, "'os_days' is an outcome"),
        ({"arm": "arm", "covariates": ["weight"]}, "no column 'weight'"),
        ({"arm": "arm", "covariates": ["score", "arm"]}, "'arm' says who was treated"),
        ({"arm": "arm", "negative_control": "os_days"}, "tool.negative_control: 'os_days' is what treatment changes"),
        ({"arm": "arm", "negative_control": "arm"}, "tool.negative_control: 'arm' is what treatment changes or is"),
        ({"arm": "arm", "estimand": "att"}, "tool.estimand: found 'att'; choose from treated, all, overlap"),
    ],
)
def test_settings_that_cannot_be_are_one_line(confounded_run, settings, words):
    with pytest.raises(UserError, match=words):
        ExternalControl(**settings).run(confounded_run, 0)


def test_the_hospital_is_no_covariate_where_it_is_the_arm(confounded_run):
    with pytest.raises(UserError, match="'hospital' says who was treated"):
        ExternalControl(treated_hospitals=confounded_run.hospitals[:1], covariates=["hospital"]).run(confounded_run, 0)
