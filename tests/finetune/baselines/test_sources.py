"""Blocks side by side are a baseline of patients who have every one of them."""

import numpy as np
import pytest

from finetune.baselines.sources import baselines_of
from finetune.features import FeatureCache
from foundation.data.cohort import Cohort

BLOCKS = [f"genomics.{channel}" for channel in ("expression", "mutations", "copy_number")]


@pytest.fixture
def cache(cohort: Cohort, build) -> FeatureCache:
    return FeatureCache(None, build().encoder, cohort, {})


def test_pairs_of_blocks_and_all_with_the_record_are_baselines(cache: FeatureCache):
    names = [baseline.name for baseline in baselines_of(cache, ["genomics", "report", "record"])]
    assert len(names) == len(set(names))
    for name in ("mutations and genomics.copy_number", "expression and genomics.mutations and genomics.copy_number"):
        assert f"ridge on genomics.{name}" in names
    assert "ridge on all of genomics and record" in names
    assert "ridge on all of genomics and record" not in [one.name for one in baselines_of(cache, ["genomics"])]


def test_blocks_side_by_side_are_of_who_has_each(cohort: Cohort, cache: FeatureCache):
    patients = list(cohort.patients.index)
    found = {baseline.name: baseline.source(patients) for baseline in baselines_of(cache, ["genomics", "record"])}
    has = {block: ~np.isnan(found[f"ridge on {block}"]).all(axis=1) for block in BLOCKS}
    pair = found[f"ridge on {BLOCKS[1]} and {BLOCKS[2]}"]
    both = has[BLOCKS[1]] & has[BLOCKS[2]]
    assert both.any() and not both.all()
    np.testing.assert_array_equal(~np.isnan(pair).all(axis=1), both)
    parts = [found[f"ridge on {block}"][both] for block in BLOCKS[1:]]
    np.testing.assert_array_equal(pair[both], np.concatenate(parts, axis=1))
    everything = found["ridge on all of genomics and record"]
    record = ~np.isnan(found["ridge on record"]).all(axis=1)
    np.testing.assert_array_equal(~np.isnan(everything).all(axis=1), np.all(list(has.values()), axis=0) & record)
