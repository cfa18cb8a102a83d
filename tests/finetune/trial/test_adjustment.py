"""What adjustment spares: formula against counting, edges, and the whole command."""

import json

import hydra
import numpy as np
import pandas as pd
import pytest

from finetune.trial.__main__ import main
from finetune.trial.adjustment import Adjustment
from finetune.trial.design import Design
from finetune.trial.endpoints import endpoint_of
from finetune.trial.log_rank import adjusted_log_rank, log_rank
from finetune.trial.patients import ScoredPatients
from finetune.trial.prognosis import cross_fitted, explained, knots_of, martingale_residuals, spline
from finetune.trial.simulation import MeanTrials, RiskTrials, SurvivalTrials, signals, simulate
from foundation.errors import UserError
from foundation.statistics.weights import poisson_weights

FAST = {"simulations": 40, "resamples": 20}


def survivors(count: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    time, end = rng.exponential(20 * np.exp(-x)), rng.uniform(5, 60, count)
    return (time <= end).astype(float), np.minimum(time, end), x


def test_martingale_residuals_add_up_to_nothing_and_weigh_patients_as_copies():
    event, time, _ = survivors(60)
    residual = martingale_residuals(event, time)
    assert residual.sum() == pytest.approx(0, abs=1e-9)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    copies = martingale_residuals(np.repeat(event, weights), np.repeat(time, weights))
    np.testing.assert_allclose(np.repeat(martingale_residuals(event, time, weights), weights), copies, atol=1e-12)


def test_a_spline_is_linear_beyond_its_outer_knots_and_smooth_between():
    knots = knots_of(np.linspace(-2, 2, 200))
    for outside in (np.linspace(-9, -2, 5), np.linspace(2, 9, 5)):
        np.testing.assert_allclose(np.diff(spline(outside, knots), n=2, axis=0), 0, atol=1e-9)
    fine = np.linspace(-3, 3, 6001)
    assert np.abs(np.diff(spline(fine, knots), n=2, axis=0)).max() < 1e-5


def test_a_prognosis_never_looks_at_the_patients_own_outcome():
    rng = np.random.default_rng(0)
    score, outcome = rng.normal(size=100), rng.normal(size=100)
    names = [f"p{index}" for index in range(100)]
    before = cross_fitted(score, outcome, names)
    outcome[17] += 1000
    assert cross_fitted(score, outcome, names)[17] == before[17]
    assert not np.allclose(cross_fitted(score, outcome, names), before)


def test_noise_explained_is_the_squared_correlation_and_nothing_where_a_score_misleads():
    rng = np.random.default_rng(0)
    outcome = rng.normal(size=200)
    prognosis = outcome + rng.normal(size=200)
    weights = poisson_weights([f"p{index}" for index in range(200)], 3, "x")
    values = explained(outcome, prognosis, weights)
    for row, value in zip(weights, values, strict=True):
        drawn = np.repeat(np.arange(200), row)
        assert value == pytest.approx(np.corrcoef(outcome[drawn], prognosis[drawn])[0, 1] ** 2, rel=1e-9)
    assert (explained(outcome, -prognosis, weights) == 0).all()
    assert (explained(outcome, np.ones(200), weights) == 0).all()


def test_simulated_events_are_the_cohorts_without_effect_and_fewer_with_one():
    event, time, x = survivors()
    trials = SurvivalTrials(event, time, x, 0.6)
    assert trials.events(1.0) == pytest.approx(event.mean(), abs=0.01)
    rng = np.random.default_rng(0)
    copies = np.tile(np.arange(400), 50)
    later, seen = trials._later(rng, time[copies][event[copies] == 1])
    assert seen.sum() / len(copies) == pytest.approx(trials.events(0.6), abs=0.01)
    assert (later >= time[copies][event[copies] == 1] - 1e-9).all()
    plain, _ = SurvivalTrials(event, time, x, 0.6)(rng, np.tile(copies, 2), np.repeat([1.0, 0.0], len(copies)))
    assert np.exp(plain.value) == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize("endpoint", ["survival", "risk", "mean"])
def test_power_by_formula_is_that_by_counting(endpoint: str):
    rng = np.random.default_rng(1)
    event, time, x = survivors()
    names = [f"p{index}" for index in range(400)]
    label = (rng.random(400) < 1 / (1 + np.exp(-2 * x))).astype(float)
    trial = {
        "survival": lambda: SurvivalTrials(
            event, time, cross_fitted(x, martingale_residuals(event, time), names), 0.65
        ),
        "risk": lambda: RiskTrials(label, cross_fitted(x, label, names, yes_or_no=True), 0.7),
        "mean": lambda: MeanTrials(2 * x + rng.normal(size=400), x, -0.6),
    }[endpoint]()
    design = Design(allocation=0.5)
    found = signals(trial, np.arange(400), design, 100)
    assert found[1] > found[0]
    size = design.patients(found[1])
    drawn = simulate(trial, 400, size, design, 400, 0)
    for value, signal in ((drawn.plain, found[0]), (drawn.adjusted, found[1])):
        assert value == pytest.approx(
            design.power_of(size, signal), abs=0.02 + 0.065
        )  # the bar, 2.6 errors of 400 trials


def test_sizes_reach_their_power_and_no_fewer_patients_do():
    design = Design(0.05, 0.9, 0.5)
    signal = design.signal_of_hazards(0.7, 0.5)
    size = design.patients(signal)
    assert size == 661  # 4 (1.96 + 1.2816)^2 / log(0.7)^2 = 330.4 events (Schoenfeld 1981), at an event of two patients
    assert design.power_of(size, signal) >= 0.9 > design.power_of(size - 1, signal)
    with pytest.raises(UserError, match="tool.power: found 1.5"):
        Design(power=1.5)
    with pytest.raises(UserError, match="tool.power: found 0.05, which tool.alpha .0.05. gives without an effect"):
        Design(power=0.05)


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        (1e-4, "tool.effect: takes more than 1,000,000 patients; plan a larger effect"),
        (0.0, "tool.effect: takes more than 1,000,000 patients"),
        (1.0, "tool.effect: takes 8 patients, 4 of them in the smaller arm, too few"),
    ],
)
def test_a_size_that_no_trial_has_is_one_line(signal: float, words: str):
    with pytest.raises(UserError, match=words):
        Design().patients(signal)


def test_events_too_few_to_compare_arms_by_are_one_line():
    event, time = np.array([0.0, 0.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0])
    with pytest.raises(UserError, match="log-rank: the events of 4 patients are too few to compare arms by"):
        log_rank(event, time, np.array([1.0, 0.0, 1.0, 0.0]))
    event, x = np.array([1.0, 1.0] + [0.0] * 6), np.random.default_rng(1).normal(size=(8, 2))
    with pytest.raises(UserError, match="log-rank: the events of 8 patients are too few"):
        adjusted_log_rank(event, np.arange(1.0, 9.0), np.array([1.0, 0.0] * 4), x)


def test_a_plan_tells_saving_power_and_false_alarms(scored: ScoredPatients):
    page = Adjustment(**FAST).run(scored, 0)
    figures = {name.removeprefix("adjustment/time_to_event/"): figure for name, figure in page.figures.items()}
    saving = figures["saving"]
    assert saving.low is not None and saving.low < saving.value < saving.high
    ratio = figures["patients/adjusted"].value / figures["patients/plain"].value
    assert 1 - ratio == pytest.approx(saving.value, abs=0.01)
    assert saving.n == sum(saving.outcomes.values()) == int(scored.table["os_event"].notna().sum())
    assert {"explained", "saving/new_hospital", "power/formula/plain", "power/simulated/adjusted"} < set(figures)
    again = Adjustment(**FAST).run(scored, 0)
    assert again.figures == page.figures
    assert any("spared" in line for line in page.lead)


def test_a_score_of_noise_spares_next_to_nothing(scored: ScoredPatients):
    table = scored.table.assign(score=np.random.default_rng(0).normal(size=len(scored.table)))
    noise = ScoredPatients(table, scored.cohort, scored.run, "test", "")
    assert Adjustment(**FAST).run(noise, 0).figures["adjustment/time_to_event/saving"].value < 0.1


def test_a_trial_that_was_run_is_analysed(scored: ScoredPatients):
    arm = np.random.default_rng(0).integers(0, 2, len(scored.table)).astype(float)
    table = scored.table.assign(arm=arm, change=scored.table["score"] + arm)
    scored = ScoredPatients(table, scored.cohort, scored.run, "test", "")
    for settings in (
        {},
        {"endpoint": "binary", "outcome": "biomarker"},
        {"endpoint": "continuous", "outcome": "change"},
    ):
        endpoint = endpoint_of(settings.get("endpoint", "time_to_event"), scored, settings.get("outcome"), None)
        page = Adjustment(arm="arm", **settings).run(scored, 0)
        effect = page.figures[f"adjustment/{endpoint.name}/effect/adjusted"]
        assert effect.low < effect.value < effect.high
        assert effect.outcomes["treated"] == int(endpoint.scored.table["arm"].sum())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint": "death"}, "tool.endpoint: found 'death'; choose from time_to_event, binary, continuous"),
        ({"effect": 1.0}, "tool.effect: 1 is no effect"),
        ({"effect": 1.4}, "found 1.4; give one above 0 and up to 1"),
        ({"endpoint": "binary"}, "tool.outcome: name the column"),
        ({"endpoint": "binary", "outcome": "os_days"}, "'os_days' is not 0 and 1"),
        ({"endpoint": "continuous", "outcome": "score"}, "tool.outcome: 'score' is the model's own; name what is"),
        ({"endpoint": "continuous", "outcome": "age"}, "reads 'age' as an input, so its score would explain it"),
        ({"follow_up": 1}, "none of .* patients had the event by then"),
        ({"arm": "score"}, "'score' must hold 1"),
        ({"outcome": "age"}, "leave outcome null"),
    ],
)
def test_settings_that_cannot_be_are_one_line(scored: ScoredPatients, settings: dict, words: str):
    with pytest.raises(UserError, match=words):
        Adjustment(**{**FAST, **settings}).run(scored, 0)


def test_the_command_writes_page_results_and_record(evaluated, tmp_path, capsys):
    run, output = evaluated(seen="Who trained it is not known."), tmp_path / "out"
    settings = [f"run={run}", f"output={output}", "tool.simulations=20", "tool.resamples=20", "tool.follow_up=900"]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        main.__wrapped__(hydra.compose("trial", settings))
    results = json.loads((output / "results.json").read_text())
    assert {"id", "estimator", "n", "low", "high", "interval", "seed", "source", "split"} <= set(results["figures"][0])
    record = json.loads((output / "run.json").read_text())
    assert record["builds_on"][0]["path"].endswith(run.name)
    assert record["notes"]["seen"] == "Who trained it is not known."
    assert capsys.readouterr().out.splitlines()[0] == "Who trained it is not known."
    page = (output / "index.html").read_text()
    assert page.count('<img src="data:image/svg+xml;base64,') == 2
    assert "http" not in page.replace("http://www.w3.org", "")
    assert pd.Series(record["metrics"]).notna().any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"simulations": 0}, "tool.simulations: found 0; give a count from 1"),
        ({"simulations": 2.5}, "tool.simulations: found 2.5; give a count from 1"),
        ({"resamples": 0}, "tool.resamples: found 0; give a count from 2"),
        ({"effect": "abc"}, "tool.effect: found abc; give a hazard ratio"),
        ({"effect": float("nan")}, "tool.effect: found nan; give a hazard ratio"),
        ({"power": "much"}, "tool.power: found much; give a number between 0 and 1"),
        ({"power": True}, "tool.power: found True; give a number between 0 and 1"),
        ({"power": 0.01}, "tool.power: found 0.01, which tool.alpha"),
        ({"follow_up": -1}, "tool.follow_up: found -1; give days, above 0"),
        ({"follow_up": float("nan")}, "tool.follow_up: found nan; give days, above 0"),
    ],
)
def test_a_setting_that_is_no_number_or_beyond_its_range_is_one_line(settings: dict, words: str):
    with pytest.raises(UserError, match=words):
        Adjustment(**settings)


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (["test", "test"], "split: names test twice; name each once"),
        ([], r"split: found \[\]; give a list of at least"),
    ],
)
def test_splits_that_cannot_be_are_one_line(evaluated, tmp_path, split: list, words: str):
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("trial", [f"run={evaluated()}", f"output={tmp_path / 'out'}", f"split={split}"])
    with pytest.raises(UserError, match=words):
        main.__wrapped__(cfg)
