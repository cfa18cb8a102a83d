"""Probes without a fit, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from finetune.baselines.probes import NEIGHBOURS, SHOTS, few_shot_scores, neighbour_scores, probes
from finetune.experts.responses import Hazard, Label
from finetune.heads.classification import Classification
from finetune.heads.discrete import DiscreteHazards
from finetune.heads.multilabel import MultiLabel
from finetune.heads.regression import Regression
from finetune.heads.survival import Survival

RNG = np.random.default_rng(0)


def drawn(count: int, strength: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    label = RNG.integers(2, size=count).astype(float)
    values = RNG.normal(size=(count, 12))
    values[:, 0] += strength * label
    return values, label


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_neighbours_are_those_of_scikit_learn_and_unknown_ones_are_none():
    values, label = drawn(100)
    known = label.copy()
    known[:30] = np.nan
    scores = neighbour_scores(unit(values), Label(known), unit(drawn(20)[0]), 7)
    assert np.isin(np.round(scores * 7, 9), np.arange(8)).all()
    asked = unit(drawn(20)[0])
    oracle = KNeighborsClassifier(7, metric="cosine").fit(values[30:], label[30:]).predict_proba(asked)[:, 1]
    np.testing.assert_allclose(neighbour_scores(unit(values), Label(known), asked, 7), oracle, atol=1e-12)


def test_neighbours_with_early_events_make_a_higher_risk():
    known = np.repeat(np.eye(2), 30, axis=0)
    response = Hazard(np.ones(60), np.concatenate([np.arange(1.0, 31), np.arange(100.0, 130)]))
    early, late = neighbour_scores(known, response, np.eye(2), 20)
    assert early > late


def test_few_patients_a_class_are_drawn_and_no_others_looked_at():
    known = np.concatenate([np.tile([1.0, 0.0], (5, 1)), np.tile([0.0, 1.0], (5, 1)), np.full((3, 2), np.nan)])
    label = np.array([1.0] * 5 + [0.0] * 5 + [np.nan] * 3)
    scores = few_shot_scores(known, label, np.eye(2), 3, np.random.default_rng(0))
    assert scores == pytest.approx([2.0, -2.0])


def test_more_patients_a_class_rank_better_and_the_modality_may_be_missing():
    (train, label), (test, truth) = drawn(400), drawn(300)
    train[:40], test[:20] = np.nan, np.nan
    head = Classification(4, "y")
    found = probes(head, train, {"y": label}, test, {"y": truth}, seed=0)
    assert found["neighbours"]["n"] == 280 and found["neighbours"]["k"] == NEIGHBOURS
    assert found["neighbours"]["value"] > 0.8
    assert list(found["few_shot"]) == list(SHOTS)
    assert found["few_shot"][25]["mean"] > found["few_shot"][1]["mean"] + 0.05
    assert found["few_shot"][25]["sd"] < found["few_shot"][1]["sd"]
    assert probes(head, train, {"y": label}, test, {"y": truth}, seed=0) == found
    few = np.where(np.arange(400) < 390, 0.0, label)
    assert max(probes(head, train, {"y": few}, test, {"y": truth}, 0)["few_shot"], default=0) < 10


def test_every_kind_of_task_has_neighbours():
    (train, label), (test, truth) = drawn(200), drawn(100)
    time = {name: np.where(column == 1, 50.0, 500.0) for name, column in (("train", label), ("test", truth))}
    survival = [{"os_event": np.ones(len(time[part])), "os_days": time[part]} for part in ("train", "test")]
    survival = [{**part, "os_days": part["os_days"] + np.arange(len(part["os_days"]))} for part in survival]
    for head, known, asked in (
        (MultiLabel(4, ["a", "b"]), {"a": label, "b": 1 - label}, {"a": truth, "b": 1 - truth}),
        (Regression(4, "y", "cm"), {"y": label}, {"y": truth}),
        (Survival(4), *survival),
        (DiscreteHazards(4), *survival),
    ):
        found = probes(head, train, known, test, asked, 0)
        assert found["neighbours"]["value"] > 0.3, type(head).__name__
        assert ("few_shot" in found) == isinstance(head, MultiLabel)


def test_where_too_few_have_the_modality_there_is_no_probe():
    values, label = drawn(60)
    values[: 60 - NEIGHBOURS] = np.nan
    assert probes(Classification(4, "y"), values, {"y": label}, values, {"y": label}, 0) == {}
    assert probes(Classification(4, "y"), drawn(60)[0], {"y": label}, drawn(60)[0], {"y": np.ones(60)}, 0) == {}
