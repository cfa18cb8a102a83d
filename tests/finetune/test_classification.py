"""The classification head: class weights, calibration, prediction."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from finetune.heads.classification import Classification
from foundation.errors import UserError


def test_class_weights_are_inverse_to_how_often_a_class_occurs():
    weights = Classification.needs({"idh": np.array([0.0, 0, 0, 1])}, {})["class_weights"]
    assert weights == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])
    assert weights[0] * 3 == pytest.approx(weights[1] * 1), "each class weighs the same"


def test_a_class_nobody_has_gets_a_finite_weight():
    weights = Classification.needs({"grade": np.array([0.0, 1.0])}, {"classes": ["G2", "G3", "G4"]})["class_weights"]
    assert weights == pytest.approx([2 / 3, 2 / 3, 2 / 3])


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
        Classification.needs({"idh": np.array(labels)}, {})


def test_the_loss_is_the_weighted_cross_entropy_of_the_hand():
    head = Classification(4, "idh", class_weights=[1.0, 3.0])
    scores = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    # -log(1/2) of class 1 counts three times, -log(3/4) of class 0 once.
    expected = (3 * math.log(2) + math.log(4 / 3)) / 4
    assert head.loss(scores, {"idh": torch.tensor([1.0, 0.0])}).item() == pytest.approx(expected, abs=1e-6)


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
        assert (head.risk(scores)[order].diff() >= -1e-6).all()


def test_calibration_takes_overconfidence_back():
    scores = torch.tensor([[-4.0, 4.0]]).repeat(10, 1)
    label = torch.tensor([1.0] * 7 + [0.0] * 3)
    head = Classification(4, "y")
    head.calibrate(scores, {"y": label}, (scores, {"y": label}))
    assert head.risk(torch.tensor([[-4.0, 4.0]])).item() == pytest.approx(0.7, abs=0.05)


def test_settings_rebuild_the_head_with_its_calibration():
    head = Classification(4, "idh", ["a", "b"], class_weights=[1.0, 2.0], dropout=0.3).eval()
    head.calibrate(torch.randn(9, 2), {"idh": torch.tensor([0.0, 1, 1] * 3)}, (torch.zeros(0, 2), {}))
    again = Classification(**head.settings()).eval()
    again.load_state_dict(head.state_dict())
    fused = torch.randn(5, 4)
    assert again.predict(again(fused)) == head.predict(head(fused))
