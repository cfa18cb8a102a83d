"""Competing risks: likelihood by hand, incidences that come to one, and what the head learns and refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from lifelines import AalenJohansenFitter

from finetune.heads.base import TargetCounts
from finetune.heads.competing import CompetingRisks
from finetune.statistics.cause import incidence_at
from foundation.errors import UserError
from foundation.statistics.figure import Support

EDGES, HORIZONS, CAUSES = [100, 200, 400], [100, 300], ["relapse", "death"]


def head(**settings) -> CompetingRisks:
    return CompetingRisks(4, CAUSES, horizons=HORIZONS, edges=EDGES, **settings).eval()


def targets(*rows: tuple[float, float]) -> dict[str, torch.Tensor]:
    cause, time = torch.tensor(rows).T
    return {"cause": cause, "os_days": time}


def cohort(count: int = 400) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Relapse goes by the first feature, death by the second."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(count, 2))
    times = rng.exponential(300 * np.exp(-1.5 * features)), rng.exponential(1000, (count, 1))
    every = np.concatenate([*times], axis=1)
    time = np.maximum(every.min(axis=1), 1.0)
    return features, {"cause": (every.argmin(axis=1) + 1.0) % 3, "os_days": time}


def test_the_loss_is_the_multinomial_likelihood_of_the_intervals_lived_through_by_hand():
    scores = torch.tensor([[0.3, -1.0, 0.5, -0.2, 0.1, -2.0]])
    odds = scores[0].exp().reshape(2, 3)
    free = (1 / (1 + odds.sum(dim=0))).tolist()
    chance = (odds * torch.tensor(free)).tolist()
    lived = [math.log(one) for one in free]
    for rows, expected in (
        ((1.0, 150.0), lived[0] + math.log(chance[0][1])),
        ((2.0, 150.0), lived[0] + math.log(chance[1][1])),
        ((2.0, 0.0), math.log(chance[1][0])),
        ((0.0, 149.0), lived[0]),  # censored before half of the second
        ((0.0, 150.0), lived[0] + lived[1]),
        ((1.0, 900.0), sum(lived)),  # an event beyond the last edge
        ((0.0, 20.0), 0.0),
    ):
        assert head().loss(scores, targets(rows)).item() == pytest.approx(-expected, abs=1e-6), rows


@given(st.lists(st.floats(-8, 8), min_size=6, max_size=6))
def test_incidences_rise_and_come_to_one_with_the_chance_of_no_event(logits):
    scores = torch.tensor([logits])
    curves = head().estimate(scores).double().numpy().reshape(2, 3)
    assert (np.diff(np.pad(curves, ((0, 0), (1, 0)))) >= 0).all()
    free = (1 / (1 + scores.double().exp().reshape(2, 3).sum(dim=0))).prod().item()
    assert curves[:, -1].sum() + free == pytest.approx(1, abs=1e-6)
    [answer] = head().predict(scores)
    Draft202012Validator(head().prediction_schema()).validate(answer)
    for days in ("100_days", "300_days"):
        total = sum(answer["incidence"][name][days] for name in CAUSES) + answer["event_free"][days]
        assert total == pytest.approx(1, abs=1e-6)


def test_incidence_between_edges_is_spread_evenly():
    between = incidence_at(np.array([[0.1, 0.3, 0.5]]), EDGES, [50, 100, 300, 900])[0]
    np.testing.assert_allclose(between, [0.05, 0.1, 0.4, 0.5])


def test_without_features_the_best_incidences_are_those_of_aalen_and_johansen():
    _, columns = cohort(3000)
    columns["cause"] = np.where(columns["cause"] == 0, 1.0, columns["cause"])  # nobody censored: grouping loses nothing
    known = {name: torch.from_numpy(column).float() for name, column in columns.items()}
    model, logits = head(), torch.zeros(1, 6, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model.loss(logits.expand(3000, -1), known)
        loss.backward()
        return loss

    optimizer.step(closure)
    curves = model.estimate(logits.detach())[0].reshape(2, 3).numpy()
    for code in (1, 2):
        oracle = AalenJohansenFitter(calculate_variance=False)
        oracle.fit(columns["os_days"], columns["cause"].astype(int), event_of_interest=code)
        for place, edge in enumerate(EDGES):
            expected = oracle.cumulative_density_.loc[:edge].iloc[-1, 0]
            assert curves[code - 1, place] == pytest.approx(expected, abs=1e-4)


def test_experts_rank_each_cause_by_what_brings_it_and_meet_its_incidence():
    features, columns = cohort()
    model = head(blocks={"record": 2})
    model.fit_experts(features, columns, ["a", "b", "c", "d"] * 100, distil=False)
    scores = model(torch.from_numpy(features).float()).detach()
    estimates = model.estimate(scores).double().numpy()
    measures = {name: metric.value(*columns.values(), estimates) for name, metric in model.metrics().items()}
    assert measures["c_index/relapse"] > 0.7 and measures["c_index/death"] > 0.7
    assert measures["c_index"] == pytest.approx((measures["c_index/relapse"] + measures["c_index/death"]) / 2)
    statistics = model.statistics().exact(columns, estimates)
    figures = statistics.measures(statistics.tables(columns, estimates, ["a"] * 400), Support())
    for name in CAUSES:
        assert figures[f"observed_to_expected/300_days/{name}"].values[0] == pytest.approx(1, abs=0.15)
        assert figures[f"brier_gain/300_days/{name}"].values[0] > 0.1
        assert figures[f"c_index/{name}"].values[0] == pytest.approx(measures[f"c_index/{name}"], abs=1e-12)


def test_calibration_does_not_make_the_validation_likelihood_worse():
    _, columns = cohort(200)
    known = {name: torch.from_numpy(column).float() for name, column in columns.items()}
    scores = 5 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    model = head()
    before = model.loss(scores, known)
    model.calibrate(scores, known, (scores[:0], {name: column[:0] for name, column in known.items()}))
    after = (scores.reshape(200, 2, 3) * model.log_scale.exp() + model.shift[:, None]).flatten(1)
    assert model.loss(after, known) < before
    assert (model.cuts.diff(dim=1) > 0).all()


def test_a_ranking_takes_log_hazards_or_incidences():
    ranks = head().statistics().ranking()
    log_hazards = np.array([[0.3, -1.0], [2.0, 0.0]])
    np.testing.assert_array_equal(np.stack(ranks.risks(log_hazards), axis=1), log_hazards)
    curves = np.array([[0.1, 0.2, 0.3, 0.0, 0.1, 0.1], [0.2, 0.3, 0.5, 0.0, 0.0, 0.1]])
    relapse, death = ranks.risks(curves)
    assert relapse[0] < relapse[1] and death[0] > death[1]
    columns = {"cause": np.array([1.0, 2.0]), "os_days": np.array([50.0, 90.0])}
    assert not any("brier" in name for name in ranks.measures(ranks.tables(columns, curves, ["a", "a"]), Support()))


def test_predictions_name_cause_and_horizon_and_know_no_label_after_censoring():
    columns = {"cause": np.array([2.0, 0.0]), "os_days": np.array([150.0, 120.0])}
    rows = head().statistics().predictions(columns, np.full((2, 6), 0.25))
    assert [row["output"] for row in rows[:4]] == [f"{name} by {days} days" for name in CAUSES for days in HORIZONS]
    assert [row["label"] for row in rows] == [0, 0, 0, 1, 0, None, 0, None]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"causes": ["relapse"]}, "task.head.causes"),
        ({"causes": ["relapse", "relapse"]}, "task.head.causes"),
        ({"causes": ["a/b", "c"]}, "task.head.causes"),
        ({"edges": [400]}, "task.head.edges"),
        ({"edges": [200, 100]}, "task.head.edges"),
        ({"horizons": [900]}, "task.head.horizons"),
        ({"horizons": [300, 100]}, "task.head.horizons"),
        ({"horizons": [100, 100]}, "task.head.horizons"),
        ({"horizons": [-100, 100]}, "task.head.horizons"),
        ({"causes": "ab"}, "task.head.causes: found 'ab'; give a list of names"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, expected):
    with pytest.raises(UserError, match=expected):
        CompetingRisks(**{"width": 4, "causes": CAUSES, "horizons": HORIZONS, "edges": EDGES} | settings)


@pytest.mark.parametrize(
    ("by_value", "expected"),
    [
        ({0.0: 9, 1.0: 9}, r"none of 18 training patients has cause = 2 \(death\)"),
        ({0.0: 9, 1.0: 9, 2.0: 3, 3.0: 1}, "cause holds 3, but causes are numbered 1 to 2"),
        ({0.5: 1, 1.0: 9, 2.0: 3}, "cause holds 0.5"),
    ],
)
def test_causes_that_nobody_has_or_declared_are_refused(by_value, expected):
    with pytest.raises(UserError, match=expected):
        head().check(TargetCounts(sum(by_value.values()), {"cause": by_value}))


def test_a_cause_that_few_had_is_told_before_it_is_learned():
    counts = TargetCounts(40, {"cause": {0.0: 20, 1.0: 19, 2.0: 1}})
    head().check(counts)
    (line,) = head().scarce(counts)
    assert line.startswith("task.head: 1 training patient with cause = 2 (death), of 10 or more that it takes")
    assert head().scarce(TargetCounts(40, {"cause": {0.0: 20, 1.0: 10, 2.0: 10}})) == []


def test_horizons_that_nobody_is_followed_up_to_are_told():
    columns = {"cause": np.array([1.0, 0.0]), "os_days": np.array([90.0, 299.0])}
    (line,) = head().doubts(columns)
    assert line.startswith("task.head.horizons: no training patient is followed up to 300 days")
