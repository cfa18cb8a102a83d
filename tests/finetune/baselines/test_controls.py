from types import SimpleNamespace

import numpy as np
import pytest

from finetune.baselines.comparison import verdict
from finetune.baselines.controls import hospital_probe, shuffled
from finetune.experts.blocks import Axes


def test_shuffled_pairs_stay_within_their_hospital_and_modality():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 5))
    features[::3, :2] = np.nan
    hospitals = np.array(["a", "b"] * 20)
    dealt = shuffled(features, [2, 3], hospitals, seed=1)
    np.testing.assert_array_equal(np.isnan(dealt), np.isnan(features))
    for hospital in ("a", "b"):
        for place in (slice(0, 2), slice(2, 5)):
            ours, theirs = dealt[hospitals == hospital, place], features[hospitals == hospital, place]
            np.testing.assert_array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))
    assert (dealt[:, 2:] != features[:, 2:]).any()


def test_a_probe_tells_hospitals_whose_features_differ_and_no_others():
    rng = np.random.default_rng(0)
    hospitals = np.repeat(["a", "b", "c", "few"], [30, 30, 30, 3])
    nothing = rng.normal(size=(93, 10))
    shifted = nothing + 3 * (hospitals == "b")[:, None]
    told, guessed = hospital_probe(shifted, hospitals), hospital_probe(nothing, hospitals)
    assert told["n"] == guessed["n"] == 90
    assert told["chance"] == 1 / 3
    assert told["value"] > 0.6 > guessed["value"]
    assert hospital_probe(nothing[:30], hospitals[:30]) == {}


def test_a_probe_learns_its_axes_without_the_patients_whom_it_tests(monkeypatch: pytest.MonkeyPatch):
    features, hospitals = np.random.default_rng(0).normal(size=(60, 4)), np.repeat(["a", "b"], 30)
    learned: list[np.ndarray] = []

    def of(values: np.ndarray) -> Axes:
        learned.append(values)
        return Axes.of(values)

    monkeypatch.setattr("finetune.baselines.controls.Axes", SimpleNamespace(of=of))
    hospital_probe(features, hospitals)
    assert [len(values) for values in learned] == [48] * 5


def test_the_verdict_names_baselines_that_beat_the_model_the_worst_first():
    def row(theirs: float, ours: float) -> dict:
        gain = {"value": ours - theirs, "low": None, "high": None}
        return {"n": 9, "auc": {"value": theirs}, "model": {"auc": {"value": ours}}, "gain": {"auc": gain}}

    none = {"baseline": {}, "baselines": {"ridge on record": row(0.7, 0.8)}}
    assert verdict(none, "auc") == ""
    some = {"baseline": {}, "baselines": {"a": row(0.8, 0.75), "b": row(0.7, 0.8), "c": row(0.95, 0.8)}}
    assert verdict(some, "auc") == (
        "Beaten by a baseline: c (auc 0.950 against 0.800, 9 patients); a (auc 0.800 against 0.750, 9 patients)."
    )
