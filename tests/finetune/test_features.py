"""Plain features: NaN for what a patient lacks or a task hides, and computed once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.features import FeatureCache
from foundation.data.cohort import Cohort
from foundation.encoder import MultimodalEncoder

NAMES = ["genomics", "report", "record"]


@pytest.fixture
def cache(cohort: Cohort, build, tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "kept", build().encoder, cohort, {})


def block(cache: FeatureCache, values: np.ndarray, wanted: str) -> np.ndarray:
    sizes = cache.encoder.feature_sizes(NAMES)
    start = sum(list(sizes.values())[: list(sizes).index(wanted)])
    return values[:, start : start + sizes[wanted]]


def test_blocks_hold_what_was_measured_and_nan_where_nothing_was(cohort: Cohort, cache: FeatureCache):
    patients = list(cohort.patients.index)
    values = cache.of(patients, NAMES)
    assert values.shape == (len(patients), sum(cache.encoder.feature_sizes(NAMES).values()))
    expression = block(cache, values, "genomics.expression")
    for row, patient in enumerate(patients):
        sample = cohort.sample(patient)
        measured = sample["genomics"]["expression"] if "genomics" in sample else np.full(expression.shape[1], np.nan)
        np.testing.assert_array_equal(expression[row], measured)


def test_features_do_not_depend_on_who_is_asked_for_with_them(cohort: Cohort, cache: FeatureCache, build):
    patients = list(cohort.patients.index)
    together = cache.of(patients, NAMES)
    alone = FeatureCache(None, build().encoder, cohort, {}).of(patients[5:6], NAMES)
    np.testing.assert_array_equal(alone[0], together[5])


def test_a_later_run_reads_what_an_earlier_one_kept(
    cohort: Cohort, cache: FeatureCache, build, monkeypatch: pytest.MonkeyPatch
):
    patients = list(cohort.patients.index)
    before = cache.of(patients, NAMES)
    again = FeatureCache(cache.folder, build().encoder, cohort, {})
    monkeypatch.setattr(MultimodalEncoder, "features", None)
    np.testing.assert_array_equal(again.of(patients[::-1], NAMES), before[::-1])


def test_what_is_kept_is_written_once_though_some_patients_lack_the_modality(
    cohort: Cohort, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
):
    patients = list(cohort.patients.index)
    assert not cohort.patients["genomics"].astype(bool).all()
    before = cache.of(patients, NAMES)
    monkeypatch.setattr("finetune.features.replacing_folder", None)
    monkeypatch.setattr(FeatureCache, "_digest", None)
    np.testing.assert_array_equal(cache.of(patients, NAMES), before)


def test_other_weights_are_other_features(cohort: Cohort, cache: FeatureCache, build):
    other = build().encoder
    with torch.no_grad():
        other.modalities["record"].column.add_(1)
    changed = FeatureCache(cache.folder, other, cohort, {})
    assert changed._digest("record") != cache._digest("record")
    assert changed._digest("genomics") == cache._digest("genomics")


def test_hidden_genes_are_missing_and_leave_other_modalities_kept(cohort: Cohort, cache: FeatureCache, build):
    gene = cohort.dictionary.genes[0]
    hidden = FeatureCache(cache.folder, build().encoder, cohort, {"expression": [gene]})
    patients = list(cohort.patients.index[cohort.patients["genomics"].astype(bool)])
    values = hidden.of(patients, NAMES)
    assert np.isnan(block(hidden, values, "genomics.expression")[:, 0]).all()
    assert not np.isnan(block(hidden, values, "genomics.expression")[:, 1:]).all()
    assert hidden._digest("record") == cache._digest("record")
    assert hidden._digest("genomics") != cache._digest("genomics")


def test_a_subset_is_the_whole_with_the_others_missing(cohort: Cohort, cache: FeatureCache):
    patients = list(cohort.patients.index)
    whole, some = cache.of(patients, NAMES), cache.subset(patients, NAMES, ["record"])
    np.testing.assert_array_equal(block(cache, some, "record"), block(cache, whole, "record"))
    assert np.isnan(block(cache, some, "report")).all()
