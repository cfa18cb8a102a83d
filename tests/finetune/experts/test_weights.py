"""Weights of scores: all that help, none below zero, and little of what few patients have."""

import numpy as np
import pytest

from finetune.experts.fusion import Normal
from finetune.experts.responses import Hazard, Label
from finetune.experts.ridge import hospital_folds
from finetune.experts.weights import weigh, weigh_positively

HOSPITALS = [f"h{place % 6}" for place in range(300)]


def scores_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two scores that tell of a truth, one that tells nothing and that one patient in ten has; and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=300)
    scores = np.stack([truth + rng.normal(size=300), truth + rng.normal(size=300), rng.normal(size=300)], axis=1)
    scores[rng.random(300) > 0.1, 2] = np.nan
    return scores, truth


@pytest.mark.parametrize("seed", range(5))
def test_both_scores_that_tell_are_weighed_and_chance_of_few_hardly(seed: int):
    scores, truth = scores_of(seed)
    rng = np.random.default_rng(seed + 100)
    time = np.ceil(900 * np.exp(-truth) * rng.exponential(size=300))
    for response in (Hazard(np.ones(300), time), Label((truth + 0.3 * rng.normal(size=300) > 0).astype(float))):
        filled = Normal.of(scores).fill(scores)
        weights, _ = weigh(scores, filled, response, hospital_folds(HOSPITALS))
        assert (weights >= 0).all()
        assert min(weights[:2]) > 0.5 * max(weights[:2])
        free = weigh_positively(filled, response, 3.0, filled.std(axis=0))[0]
        assert weights[2] <= 0.5 * free[2]  # as where a penalty is in units of how a filled score varies


def test_a_penalty_is_in_units_of_who_has_the_score():
    """The same weight for a score as for its double, and less of it where few have it."""
    scores, truth = scores_of(0)
    label = Label((truth > 0).astype(float))
    folds = hospital_folds(HOSPITALS)
    filled = Normal.of(scores).fill(scores)
    weights, shift = weigh(scores, filled, label, folds)
    doubled, again = weigh(2 * scores, 2 * filled, label, folds)
    np.testing.assert_allclose(2 * doubled, weights, rtol=1e-6, atol=1e-9)
    assert again == pytest.approx(shift, abs=1e-6)
    some = filled[:, :2]
    plain = weigh_positively(some, label, 30.0, some.std(axis=0))[0]
    few = weigh_positively(some, label, 30.0, some.std(axis=0) * np.array([1.0, 3.0]))[0]
    assert few[1] < 0.7 * plain[1] and few[0] > plain[0]


@pytest.mark.parametrize("seed", range(5))
def test_what_tells_little_is_penalised_more_than_what_tells_much(seed: int, monkeypatch: pytest.MonkeyPatch):
    """Beside weights that are penalised alike: less for a score of few that hardly rises with the target."""
    scores, truth = scores_of(seed)
    rng = np.random.default_rng(seed)
    few = np.flatnonzero(~np.isnan(scores[:, 2]))
    scores[few, 2] = rng.normal(size=len(few)) + 0.5 * truth[few]
    response = Hazard(np.ones(300), np.ceil(9000 * np.exp(-2 * truth) * rng.exponential(size=300)))
    filled = Normal.of(scores).fill(scores)
    monkeypatch.setattr("finetune.experts.weights._PENALTIES", (10.0,))
    weights, _ = weigh(scores, filled, response, hospital_folds(HOSPITALS))
    unit = np.nanstd(scores, axis=0) / np.sqrt((~np.isnan(scores)).mean(axis=0))
    alike, _ = weigh_positively(filled, response, 10.0, unit)
    assert weights[2] < 0.9 * alike[2]
    np.testing.assert_allclose(weights[:2], alike[:2], rtol=0.3)


def test_a_score_that_misleads_is_left_out():
    _, truth = scores_of(1)
    scores = np.stack([truth, -truth + 0.1 * np.random.default_rng(3).normal(size=300)], axis=1)
    weights, _ = weigh_positively(scores, Label((truth > 0).astype(float)), 3.0, scores.std(axis=0))
    assert weights[1] == 0 < weights[0]
