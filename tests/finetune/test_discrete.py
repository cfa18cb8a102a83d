"""Discrete-time hazards: likelihood by hand, curves of their own, and the figures of a proportional model."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from lifelines import KaplanMeierFitter

from finetune.heads.discrete import DiscreteHazards
from finetune.statistics.discrete import DiscreteStatistics
from finetune.statistics.survival import SurvivalStatistics
from foundation.errors import UserError
from foundation.statistics.figure import Support

EDGES, HORIZONS = [100, 200, 400], [100, 300]


def head(**settings) -> DiscreteHazards:
    return DiscreteHazards(4, horizons=HORIZONS, edges=EDGES, **settings)


def targets(*rows: tuple[float, float]) -> dict[str, torch.Tensor]:
    event, time = torch.tensor(rows).T
    return {"os_event": event, "os_days": time}


def test_the_loss_is_the_likelihood_of_the_intervals_lived_through_by_hand():
    scores = torch.tensor([[0.3, -1.0, 0.5]])
    chance = scores[0].sigmoid().tolist()
    lived = [math.log(1 - one) for one in chance]
    for rows, expected in (
        ((1.0, 150.0), lived[0] + math.log(chance[1])),  # event in the second
        ((1.0, 200.0), lived[0] + math.log(chance[1])),  # on its last day
        ((1.0, 0.0), math.log(chance[0])),
        ((0.0, 149.0), lived[0]),  # censored before half of the second
        ((0.0, 150.0), lived[0] + lived[1]),
        ((1.0, 900.0), sum(lived)),  # an event beyond the last edge
        ((0.0, 20.0), 0.0),
    ):
        assert head().loss(scores, targets(rows)).item() == pytest.approx(-expected, abs=1e-6), rows


def test_without_features_the_best_hazards_are_those_of_the_life_table():
    rng = np.random.default_rng(0)
    time = rng.exponential(200, 4000).clip(1)
    model = head()
    logits = torch.zeros(1, 3, requires_grad=True)
    known = {"os_event": torch.ones(4000), "os_days": torch.from_numpy(time).float()}
    optimizer = torch.optim.LBFGS([logits], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model.loss(logits.expand(4000, -1), known)
        loss.backward()
        return loss

    optimizer.step(closure)
    oracle = KaplanMeierFitter().fit(time, np.ones(4000)).survival_function_at_times(EDGES)
    assert model.estimate(logits.detach())[0].tolist() == pytest.approx(oracle.tolist(), abs=1e-4)


@given(st.lists(st.floats(-6, 6), min_size=3, max_size=3))
def test_survival_never_rises_and_meets_the_curve_at_the_edges(logits):
    curve = head().estimate(torch.tensor([logits])).double().numpy()
    statistics = DiscreteStatistics("os_event", "os_days", HORIZONS, EDGES)
    days = np.array([0.0, 50, 100, 150, 200, 300, 400, 500])
    survival = statistics.survival(curve, days)[0]
    assert (np.diff(survival) <= 1e-12).all() and survival[0] == 1
    np.testing.assert_allclose(survival[[2, 4, 6]], curve[0], rtol=1e-9)
    np.testing.assert_allclose(survival[5], np.sqrt(curve[0, 1] * curve[0, 2]), rtol=1e-9)  # half of an interval
    own = statistics.survival(np.repeat(curve, 2, axis=0), np.array([[100.0], [200.0]]))
    np.testing.assert_allclose(own[:, 0], curve[0, :2], rtol=1e-9)


def test_curves_may_cross():
    early, late = torch.tensor([[1.0, -6.0, -6.0]]), torch.tensor([[-4.0, -4.0, 3.0]])
    one, other = head().estimate(early)[0], head().estimate(late)[0]
    assert one[0] < other[0] and one[2] > other[2]


def test_figures_of_proportional_curves_are_those_of_the_proportional_model():
    rng = np.random.default_rng(0)
    risk = rng.normal(size=120)
    edges = list(range(10, 1000, 10))
    hazard = np.array(edges) / 300
    curve = np.exp(-hazard * np.exp(risk)[:, None])
    time = (rng.exponential(300 / np.exp(risk)).round(-1) + 10).clip(10, 800)
    columns = {"os_event": (rng.random(120) < 0.7).astype(float), "os_days": time}
    baseline = (np.array([0.0, *edges]), np.array([0.0, *hazard]))
    measured = []
    for statistics, estimates in (
        (SurvivalStatistics("os_event", "os_days", HORIZONS, baseline), risk),
        (DiscreteStatistics("os_event", "os_days", HORIZONS, edges), curve),
    ):
        exact = statistics.exact(columns, estimates)
        tables = exact.tables(columns, estimates, ["a", "b"] * 60)
        measured.append(exact.measures(tables, Support()))
    assert set(measured[0]) == set(measured[1])
    for name, measure in measured[0].items():
        np.testing.assert_allclose(measured[1][name].values, measure.values, rtol=1e-9, err_msg=name)


def test_a_ranking_compares_curves_with_log_hazards():
    ranks = DiscreteStatistics("os_event", "os_days", HORIZONS, EDGES).ranking()
    risk = np.array([0.3, -1.0, 2.0])
    np.testing.assert_array_equal(ranks.risk(risk), risk)
    curve = np.exp(-np.exp(risk)[:, None] * np.array(EDGES) / 300)
    np.testing.assert_allclose(ranks.risk(curve), risk, rtol=1e-9)
    assert not ranks.believes


def test_experts_learn_each_interval_from_those_who_reach_it():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 5))
    time = rng.exponential(200 * np.exp(-features[:, 0])).clip(1, 390)
    columns = {"os_event": (time < 390).astype(float), "os_days": time}
    model = head(blocks={"a": 5})
    known = np.stack([response.known for response in model.responses(columns)])
    assert known[0].all() and known[1].sum() == (time > 100).sum()
    model.fit_experts(features, columns, [f"h{index % 5}" for index in range(300)])
    curve = model.estimate(model(torch.from_numpy(features).float())).double().numpy()
    assert model.metrics()["c_index"].value(*columns.values(), curve) > 0.7
    assert abs(curve.mean(axis=0)[1] - (time > 200).mean()) < 0.05


def test_answers_keep_to_their_schema_and_settings_rebuild_the_head():
    model = head().eval()
    scores = torch.randn(30, 3)
    known = targets(*[(1.0, 50.0 + index) for index in range(30)])
    model.calibrate(scores, known, (scores[:0], {name: value[:0] for name, value in known.items()}))
    again = DiscreteHazards(**model.settings()).eval()
    again.load_state_dict(model.state_dict())
    answers = model.predict(scores)
    assert again.predict(scores) == answers
    assert {answer["risk_group"] for answer in answers} == {"low", "middle", "high"}
    for answer in answers:
        Draft202012Validator(model.prediction_schema()).validate(answer)
        assert list(answer["survival"]) == ["100_days", "300_days"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"edges": [100, 100]}, r"task.head.edges: found \[100, 100\]; give days that rise"),
        ({"edges": [100, 200]}, "task.head.horizons: 300 days is beyond the last edge, 200"),
    ],
)
def test_edges_that_cannot_be_are_one_line(settings, named):
    with pytest.raises(UserError, match=named):
        DiscreteHazards(4, horizons=HORIZONS, **settings)
