"""What a site does to its update: clip and noise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foundation.errors import UserError
from foundation.federation.privacy import PrivateStrategy, SitePrivacy
from foundation.federation.privacy.clipping import Fixed
from foundation.federation.strategies.averaging import FedAvg
from foundation.federation.weights.aggregation import norm_of
from foundation.federation.weights.module import local_names
from tests.foundation.federation.privacy.updates import (
    BUFFERS,
    COUNT,
    FUSION,
    PREVIOUS,
    REPORT,
    STATISTIC,
    change,
    privacy,
    protect,
    update,
)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.floats(1e-6, 1e6), st.floats(1e-4, 1e4))
def test_no_update_leaves_longer_than_the_clip_over_all_groups_together(seed, size, clip):
    given = change(seed, size)
    found = protect(privacy(clipping=Fixed(clip)), given).difference
    assert norm_of(found.values()) <= clip
    if norm_of(given.values()) <= clip:
        assert all(np.array_equal(found[name], given[name]) for name in given)
    else:
        assert norm_of(found.values()) == pytest.approx(clip, rel=1e-5)


def test_groups_that_a_site_did_not_train_neither_leave_nor_count():
    given = change(0)
    found = protect(privacy(), given, {"report": 7, "fusion": 0})
    assert set(found.difference) == {REPORT}
    assert norm_of(found.difference.values()) == pytest.approx(1.0, rel=1e-5)
    assert found.samples == {"report": 1}, "true counts are the patients'"
    assert found.metrics == {"seconds": 2.0}, "so are losses"


@pytest.mark.parametrize(("name", "value"), [(STATISTIC, np.ones(4, np.float32)), (COUNT, np.array(1))])
def test_buffers_that_changed_are_refused_and_others_do_not_travel(name, value):
    with pytest.raises(UserError, match=f"{name} changed in training"):
        protect(privacy(), {**change(0), name: value})
    assert set(protect(privacy("site"), {**change(0), name: 0 * value}).difference) == {REPORT, FUSION}


def test_one_word_keeps_all_buffers_at_the_sites():
    module = nn.Module()
    module.encoder = nn.Module()
    module.encoder.fusion = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    kept = {"encoder.fusion.1.running_mean", "encoder.fusion.1.running_var", "encoder.fusion.1.num_batches_tracked"}
    assert set(local_names(module, ["buffers"])) == kept
    assert local_names(nn.Linear(2, 2), ["buffers"]) == ()


def test_an_update_that_is_not_finite_is_refused():
    given = change(0)
    given[FUSION][3] = np.nan
    with pytest.raises(UserError, match="not finite"):
        protect(privacy(), given)


@pytest.mark.parametrize(("place", "expected"), [("site", 3.0), ("shares", 1.5)])
def test_noise_of_a_site_has_the_standard_deviation_that_it_says(place, expected):
    """2000 numbers: their standard deviation is within 5 % but once in a thousand times."""
    found = protect(privacy(place, multiplier=1.5), {}, privacy_clip=2.0).difference
    values = np.concatenate([value.ravel() for value in found.values()])
    assert len(values) == 2000, "what did not change is noised all the same"
    assert values.std() == pytest.approx(expected, rel=0.05)
    assert abs(values.mean()) < 4 * expected / math.sqrt(2000)


def test_shares_add_up_to_the_whole_noise():
    mechanism = privacy("shares", 2.0)
    sites = [protect(mechanism, {}).difference[REPORT].astype(np.float64) for _ in range(4)]
    assert not np.array_equal(sites[0], sites[1])
    assert sum(sites).std() == pytest.approx(2.0, rel=0.07)


def test_noise_of_the_server_covers_the_mean_of_groups_that_were_trained():
    strategy = PrivateStrategy(FedAvg(), privacy(multiplier=3.0, clipping=Fixed(0.5)), sites=4, secure=False)
    zero = {name: np.zeros_like(PREVIOUS[name]) for name in (REPORT, FUSION)}
    found = strategy.combine(PREVIOUS, {"a": update(zero, report=3), "b": update(zero, report=1)}, BUFFERS)
    noise = found.weights[REPORT].astype(np.float64) - PREVIOUS[REPORT]
    assert noise.std() == pytest.approx(3.0 * 0.5 / 4, rel=0.07)
    assert np.array_equal(found.weights[FUSION], PREVIOUS[FUSION]), "nobody trained it, which is public"
    assert found.coverage == {"report": {"a": 0.25, "b": 0.25}, "fusion": {}}


def test_secrets_differ_from_release_to_release():
    mechanism = SitePrivacy(1.0, Fixed(1.0), "site")
    first, second = (protect(mechanism, {}).difference[FUSION] for _ in range(2))
    assert np.abs(first - second).min() > 0
