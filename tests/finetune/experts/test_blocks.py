"""A patient unlike all others does not decide for them, and what a block alone may say is left as it is."""

import numpy as np
import pytest
import torch

from finetune.experts.blocks import CLIP, Axes, standardise
from finetune.experts.fit import fit_expert
from finetune.experts.module import Experts
from finetune.experts.responses import Hazard, Label

GENES = 300


@pytest.fixture(scope="module")
def mutations() -> np.ndarray:
    """Of 200 patients with about six mutated genes, and of two with half of them."""
    rng = np.random.default_rng(0)
    values = (rng.random((202, GENES)) < 0.02).astype(float)
    values[200:] = rng.random((2, GENES)) < 0.5
    return values


def test_whose_features_all_stand_out_is_brought_into_reach(mutations: np.ndarray):
    axes = Axes.of(mutations)
    plain = np.linalg.norm(standardise(mutations, axes.mean, axes.scale, np.asarray(np.inf)), axis=1)
    held = np.linalg.norm(standardise(mutations, axes.mean, axes.scale, axes.reach), axis=1)
    assert axes.reach == pytest.approx(2 * plain.mean())
    assert (plain[200:] > 2 * axes.reach).all()
    np.testing.assert_allclose(held[200:], axes.reach)
    near = plain <= axes.reach
    assert near[:200].mean() > 0.97
    np.testing.assert_array_equal(held[near], plain[near])


def test_one_feature_reaches_as_far_as_it_may_alone():
    values = np.random.default_rng(1).normal(size=(500, 1))
    values[0] = 3.9
    axes = Axes.of(values)
    assert axes.reach == CLIP
    expected = np.clip((values - axes.mean) / axes.scale, -CLIP, CLIP)
    np.testing.assert_allclose(standardise(values, axes.mean, axes.scale, axes.reach), expected)


def test_two_patients_unlike_all_others_do_not_choose_the_penalty(mutations: np.ndarray):
    """Both outlive everybody, though they have every mutation that kills."""
    rng = np.random.default_rng(2)
    values = mutations.copy()
    values[:200, :5] = rng.random((200, 5)) < 0.3
    time = np.ceil(1000 * np.exp(-values[:, :5].sum(axis=1)) * rng.exponential(size=202))
    event = np.ones(202)
    values[200:, :5], time[200:], event[200:] = 1, 6000, 0
    hospitals = np.array([f"h{place % 5}" for place in range(202)])
    others = Hazard(event[:200], time[:200])
    beside, alone = (
        fit_expert(values, Hazard(event, time), hospitals),
        fit_expert(values[:200], others, hospitals[:200]),
    )
    assert beside is not None and alone is not None
    gained, possible = (
        others.log_likelihood(one.scores[:200]) - others.log_likelihood(np.zeros(200)) for one in (beside, alone)
    )
    assert gained > 0.7 * possible > 5


def test_the_saved_expert_holds_a_patient_as_the_fit_does(mutations: np.ndarray):
    label = (mutations[:, :8].sum(axis=1) > 0).astype(float)
    hospitals = [f"h{place % 5}" for place in range(202)]
    experts = Experts({"mutations": GENES}, 1)
    experts.fit(mutations, [Label(label)], hospitals, distil=False)
    axes = Axes.of(mutations)
    held = standardise(mutations, axes.mean, axes.scale, axes.reach) @ experts.weight[:, 0].numpy()
    score = experts(torch.from_numpy(mutations).float()).numpy()[:, 0]
    design = np.stack([held, np.ones(202)], axis=1)
    fitted = design @ np.linalg.lstsq(design, score, rcond=None)[0]
    np.testing.assert_allclose(score, fitted, atol=1e-4)
    again = Experts({"mutations": GENES}, 1)
    again.load_state_dict(experts.state_dict())
    np.testing.assert_array_equal(again(torch.from_numpy(mutations).float()).numpy()[:, 0], score)


def test_nothing_known_and_nothing_measured_leave_a_finite_slope():
    experts = Experts({"one": 3, "two": 2}, 1)
    values = torch.tensor([[0.0, 0.0, 0.0, torch.nan, torch.nan]], requires_grad=True)
    experts(values).sum().backward()
    assert values.grad is not None and bool(values.grad[:, :3].isfinite().all())
