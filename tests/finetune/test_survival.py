"""Cox's partial likelihood, Breslow's baseline and the probabilities that follow from them."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from lifelines import CoxPHFitter

from finetune.heads.base import TargetCounts
from finetune.heads.discrete import DiscreteHazards
from finetune.heads.survival import Survival, breslow_baseline, cox_loss
from foundation.errors import UserError

# Patients of hazard 1, 2, 3 and 1; the second and third die on the same day, the last is censored.
RISK = torch.log(torch.tensor([1.0, 2.0, 3.0, 1.0]))
EVENT = torch.tensor([1.0, 1.0, 1.0, 0.0])
TIME = torch.tensor([1.0, 2.0, 2.0, 3.0])


def test_the_loss_with_ties_is_that_of_the_hand():
    # log(1 + 2 + 3 + 1) - log 1, then twice log(2 + 3 + 1) - log 2 - log 3, over three events.
    assert cox_loss(RISK, EVENT, TIME).item() == pytest.approx((math.log(7) + math.log(6)) / 3, abs=1e-6)


def test_without_an_event_there_is_no_loss():
    assert cox_loss(RISK, torch.zeros(4), TIME) is None


def test_a_patient_censored_before_the_first_event_teaches_nothing():
    risk = torch.tensor([9.0, 0.0, 1.0], requires_grad=True)
    cox_loss(risk, torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 3.0])).backward()
    assert risk.grad[0] == 0
    assert risk.grad[1] != 0


@given(st.integers(0, 2**31), st.integers(2, 20), st.floats(-5, 5))
def test_adding_a_constant_to_every_risk_changes_nothing(seed, patients, constant):
    rng = torch.Generator().manual_seed(seed)
    risk = torch.randn(patients, generator=rng, dtype=torch.float64)
    event = (torch.rand(patients, generator=rng) < 0.6).double()
    event[0] = 1
    time = torch.randint(1, 8, (patients,), generator=rng).double()
    moved, plain = (cox_loss(value, event, time).item() for value in (risk + constant, risk))
    assert moved == pytest.approx(plain, abs=1e-10)


def test_likelihood_and_baseline_agree_with_lifelines_at_its_own_coefficients():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60)})
    table["time"] = rng.exponential(np.exp(-0.8 * table["a"] + 0.3 * table["b"])) * 500
    table["event"] = rng.random(60) < 0.7
    fitted = CoxPHFitter().fit(table, "time", "event")
    covariates = table[["a", "b"]].to_numpy()
    risk = torch.tensor((covariates - covariates.mean(0)) @ fitted.params_.to_numpy(), requires_grad=True)
    event, time = torch.tensor(table["event"].to_numpy(dtype=float)), torch.tensor(table["time"].to_numpy())
    loss = cox_loss(risk, event, time)
    assert -loss.item() * event.sum().item() == pytest.approx(fitted.log_likelihood_, rel=1e-9)
    loss.backward()
    np.testing.assert_allclose(risk.grad.numpy() @ covariates, 0, atol=1e-4)
    _, hazard = breslow_baseline(risk.detach().float(), event.float(), time.float())
    theirs = fitted.baseline_cumulative_hazard_.loc[sorted(table["time"][table["event"]])]
    np.testing.assert_allclose(hazard, theirs.to_numpy()[:, 0], rtol=1e-5)


def test_the_baseline_is_that_of_the_hand():
    days, hazard = breslow_baseline(RISK, EVENT, TIME)
    assert days.tolist() == [1, 2]
    assert hazard.tolist() == pytest.approx([1 / 7, 1 / 7 + 2 / 6])


@pytest.fixture
def head() -> Survival:
    """Calibrated on four patients of equal hazard; three die, after 100, 400 and 1200 days."""
    head = Survival(8)
    train = (torch.zeros(3, 1), {"os_event": torch.tensor([1.0, 1, 1]), "os_days": torch.tensor([100.0, 400, 1200])})
    validation = {"os_event": torch.tensor([0.0]), "os_days": torch.tensor([2000.0])}
    head.calibrate(torch.zeros(1, 1), validation, train)
    return head


def test_survival_is_the_baseline_to_the_power_of_the_hazard(head):
    average, doubled = (found["survival"] for found in head.predict(torch.tensor([[0.0], [math.log(2)]])))
    hazards = [1 / 4, 1 / 4 + 1 / 3, 1 / 4 + 1 / 3 + 1 / 2]
    assert list(average) == ["365_days", "1095_days", "1825_days"]
    assert list(average.values()) == pytest.approx(
        [math.exp(-hazards[0]), math.exp(-hazards[1]), math.exp(-hazards[2])]
    )
    assert list(doubled.values()) == pytest.approx([math.exp(-2 * hazard) for hazard in hazards])


def test_no_event_at_all_is_refused():
    head = Survival(8)
    counts = head.count({"os_event": np.zeros(3), "os_days": np.arange(3.0)})
    with pytest.raises(UserError, match="none of 3 training patients has os_event = 1"):
        head.check(counts)


def test_experts_who_know_nobody_with_the_event_are_refused_in_one_line():
    rng = np.random.default_rng(0)
    values = np.where((np.arange(40) < 30)[:, None], rng.normal(size=(40, 3)), np.nan)
    targets = {"os_event": (np.arange(40) >= 30).astype(float), "os_days": rng.integers(1, 900, 40).astype(float)}
    with pytest.raises(
        UserError, match=r"^task.modalities: none of the 30 patients who have what is read has os_event"
    ):
        Survival(8, blocks={"x": 3}).fit_experts(values, targets, ["a", "b"] * 20)


def test_survival_falls_with_the_horizon_and_with_risk(head):
    table = np.array([list(found["survival"].values()) for found in head.predict(torch.linspace(-2, 2, 9)[:, None])])
    assert (np.diff(table, axis=0) < 0).all()
    assert (np.diff(table, axis=1) < 0).all()
    assert ((table > 0) & (table < 1)).all()


def test_nobody_is_expected_to_die_before_the_first_event_of_the_cohort():
    head = Survival(8, horizons=[99, 100])
    train = (torch.zeros(2, 1), {"os_event": torch.tensor([1.0, 0]), "os_days": torch.tensor([100.0, 300])})
    head.calibrate(torch.zeros(1, 1), {"os_event": torch.tensor([0.0]), "os_days": torch.tensor([300.0])}, train)
    assert head.predict(torch.zeros(1, 1))[0]["survival"] == pytest.approx({"99_days": 1, "100_days": math.exp(-1 / 3)})


def test_risk_groups_are_the_thirds_of_the_patients_seen():
    head = Survival(8)
    scores = torch.arange(9.0)[:, None]
    targets = {"os_event": torch.ones(9), "os_days": torch.arange(9.0) + 1}
    head.calibrate(
        scores[:3], {n: v[:3] for n, v in targets.items()}, (scores[3:], {n: v[3:] for n, v in targets.items()})
    )
    groups = [found["risk_group"] for found in head.predict(scores)]
    assert groups == ["low"] * 3 + ["middle"] * 3 + ["high"] * 3
    assert head.estimate(scores).tolist() == list(range(9))


def test_counts_of_survival_tell_events_and_no_days():
    counts = Survival(8).count({"os_event": np.array([1.0, 0, 1]), "os_days": np.array([11.0, 12, 13])})
    assert counts.by_target == {"os_event": {0: 1, 1: 2}}


def test_survival_answers_keep_to_their_schema(head):
    validator = Draft202012Validator(head.prediction_schema())
    for answer in head.predict(torch.linspace(-2, 2, 3)[:, None]):
        validator.validate(answer)
    assert not validator.is_valid(answer | {"risk_group": "none"})


@pytest.mark.parametrize("kind", [Survival, DiscreteHazards])
@pytest.mark.parametrize("horizons", [[365, 100], [365, 365], [-365, 365], [0, 365]])
def test_horizons_that_do_not_rise_from_above_zero_are_refused(kind: type, horizons: list[int]):
    with pytest.raises(
        UserError, match=r"task\.head\.horizons: found \[.*\]; give days that rise from above 0, each once"
    ):
        kind(8, horizons=horizons)


def test_few_events_are_told_before_they_are_learned_from():
    (line,) = Survival(8).scarce(TargetCounts(30, {"os_event": {0.0: 27, 1.0: 3}}))
    assert line.startswith("task.head: 3 training patients with os_event = 1, of 10 or more")
    assert Survival(8).scarce(TargetCounts(30, {"os_event": {0.0: 20, 1.0: 10}})) == []
