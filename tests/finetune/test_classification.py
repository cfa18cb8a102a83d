"""The classification head: class weights, calibration, prediction."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from torch.nn import functional

from finetune.heads.classification import Classification
from foundation.errors import UserError


def weighed(head: Classification, labels: list[float]) -> list[float]:
    counts = head.count({head.target: np.array(labels)})
    head.check(counts)
    head.set_counts(counts)
    return head.class_weights.tolist()


def test_class_weights_are_inverse_to_how_often_a_class_occurs():
    weights = weighed(Classification(4, "idh"), [0.0, 0, 0, 1])
    assert weights == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])
    assert weights[0] * 3 == pytest.approx(weights[1] * 1), "each class weighs the same"


def test_a_class_nobody_has_gets_a_finite_weight():
    weights = weighed(Classification(4, "grade", ["G2", "G3", "G4"]), [0.0, 1.0])
    assert weights == pytest.approx([2 / 3, 2 / 3, 2 / 3])


def test_class_weights_of_the_config_stay():
    assert weighed(Classification(4, "idh", class_weights=[1.0, 2.0]), [0.0, 0, 0, 1]) == [1, 2]


def test_counts_of_hospitals_add_up_to_those_of_all_patients():
    head = Classification(4, "grade", ["G2", "G3", "G4"])
    north, south = np.array([0.0, 1, 1]), np.array([2.0, 2, 0, 2])
    pooled = head.count({"grade": north}) + head.count({"grade": south})
    assert pooled == head.count({"grade": np.concatenate([north, south])})
    assert pooled.patients == 7 and pooled.by_target["grade"] == {0: 2, 1: 2, 2: 3}


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ([1.0, 1.0], "all 2 training patients have idh = 1"),
        ([0.0, 2.0], "'idh' holds 2, but classes are 2"),
        ([0.0, 0.5], "'idh' holds 0.5"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels, named):
    with pytest.raises(UserError, match=named):
        weighed(Classification(4, "idh"), labels)


def test_the_loss_is_the_weighted_cross_entropy_of_the_hand():
    head = Classification(4, "idh", class_weights=[1.0, 3.0])
    scores = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    # -log(1/2) of class 1 counts three times, -log(3/4) of class 0 once.
    expected = (3 * math.log(2) + math.log(4 / 3)) / 2
    assert head.loss(scores, {"idh": torch.tensor([1.0, 0.0])}).item() == pytest.approx(expected, abs=1e-6)


def test_the_loss_of_two_halves_of_a_batch_is_that_of_the_batch():
    head = Classification(4, "idh", class_weights=[1.0, 3.0])
    scores, label = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 1, 0, 0])
    halves = [head.loss(scores[part], {"idh": label[part]}) for part in (slice(2), slice(2, 4))]
    assert torch.stack(halves).mean().item() == pytest.approx(head.loss(scores, {"idh": label}).item(), abs=1e-6)


def test_an_uncalibrated_head_predicts_the_softmax():
    found = Classification(4, "idh", ["wildtype", "mutant"]).predict(torch.tensor([[0.0, math.log(3)], [2.0, 0.0]]))
    assert found[0]["class"] == "mutant"
    assert found[0]["probabilities"] == pytest.approx({"wildtype": 0.25, "mutant": 0.75})
    assert found[1]["class"] == "wildtype"


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(4, 40), st.floats(0.2, 5), st.integers(2, 3))
def test_calibration_never_raises_the_loss_that_it_fits_and_keeps_the_ranking(seed, patients, spread, classes):
    rng = torch.Generator().manual_seed(seed)
    scores = spread * torch.randn(patients, classes, generator=rng)
    label = torch.randint(classes, (patients,), generator=rng)
    head = Classification(4, "y", [str(index) for index in range(classes)])
    before = functional.cross_entropy(scores, label).item()
    head.calibrate(scores, {"y": label.float()}, (scores, {"y": label.float()}))
    probabilities = torch.tensor([list(found["probabilities"].values()) for found in head.predict(scores)])
    after = functional.nll_loss(probabilities.clamp(min=1e-30).log(), label).item()
    assert after <= before + 1e-4
    if classes == 2:
        order = (scores[:, 1] - scores[:, 0]).argsort()
        assert (head.estimate(scores)[order].diff() >= -1e-6).all()


def test_calibration_takes_overconfidence_back():
    scores = torch.tensor([[-4.0, 4.0]]).repeat(10, 1)
    label = torch.tensor([1.0] * 7 + [0.0] * 3)
    head = Classification(4, "y")
    head.calibrate(scores, {"y": label}, (scores, {"y": label}))
    assert head.estimate(torch.tensor([[-4.0, 4.0]])).item() == pytest.approx(0.7, abs=0.05)


def test_settings_rebuild_the_head_with_its_calibration():
    head = Classification(4, "idh", ["a", "b"], class_weights=[1.0, 2.0], dropout=0.3).eval()
    head.calibrate(torch.randn(9, 2), {"idh": torch.tensor([0.0, 1, 1] * 3)}, (torch.zeros(0, 2), {}))
    again = Classification(**head.settings()).eval()
    again.load_state_dict(head.state_dict())
    fused = torch.randn(5, 4)
    assert again.predict(again(fused)) == head.predict(head(fused))


def test_an_answer_keeps_to_its_schema():
    head = Classification(4, "grade", ["G2", "G3", "G4"])
    validator = Draft202012Validator(head.prediction_schema())
    answer = head.predict(torch.randn(1, 3))[0]
    validator.validate(answer)
    for broken in (answer | {"class": "G5"}, answer | {"probabilities": {"G2": 1.0}}, {"class": "G2"}):
        assert not validator.is_valid(broken)


def test_the_baseline_gives_a_class_that_training_lacks_no_probability():
    head = Classification(4, "grade", ["G2", "G3", "G4"])
    covariates = pd.DataFrame({"age": [-1.0, 0.0, 1.0, 2.0]})
    estimates = head.baseline(covariates, {"grade": np.array([0.0, 0, 2, 2])}, covariates[:2])
    assert estimates.shape == (2, 3)
    assert (estimates[:, 1] == 0).all()
    assert estimates.sum(axis=1) == pytest.approx([1, 1])
