"""Secure aggregation: masked at the server, equal to the plain mean, and what happens when sites leave."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from flwr.client.mod.secure_aggregation.secaggplus_mod import SecAggPlusState
from flwr.common import bytes_to_ndarray
from flwr.common.secure_aggregation.crypto.shamir import combine_shares
from flwr.common.secure_aggregation.quantization import quantize
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, RECORD_KEY_STATE, Key, Stage
from flwr.common.serde import context_from_proto, context_to_proto
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy.stats import chisquare

from foundation.errors import UserError
from foundation.federation.secure import Secure, SecureOrder
from foundation.federation.secure.masks import expand
from foundation.federation.secure.settings import levels
from foundation.federation.secure.site import submission
from tests.foundation.federation.secure_sites import (
    AFTER,
    BEFORE,
    CONSTANT,
    COUNTER,
    GROUPS,
    MOST,
    NODES,
    SAMPLES,
    SHAPES,
    VARIANCE,
    InProcess,
    a_task,  # noqa: F401 - a fixture for every test here
    equals_the_plain_mean,
    grid_of,
    plain_mean,
    round_of,
    trained,
    update_of,
    weights_of,
)

ROOT = Path(__file__).resolve().parents[4]
MODULUS = 2**32


def masked(grid: InProcess, site: str) -> list[np.ndarray]:
    """The vectors that the server got from a site."""
    (content,) = [c for stage, node, c in grid.seen if (stage, node) == (Stage.COLLECT_MASKED_VECTORS, NODES[site])]
    return [bytes_to_ndarray(vector) for vector in content.config_records[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS]]


def plain_vectors(site: str, sites: int) -> list[np.ndarray]:
    order = SecureOrder.of(Secure(), MOST, GROUPS)
    arrays = submission(order, BEFORE, update_of(AFTER[site], SAMPLES[site])).arrays
    return [np.array([levels(sites)]), *quantize(arrays, 1.0, levels(sites))]


def looks_uniform(values: np.ndarray) -> bool:
    counts, _ = np.histogram(values, bins=64, range=(0, MODULUS))
    return bool(chisquare(counts).pvalue > 1e-4)


def test_the_aggregate_equals_the_plain_one_within_quantisation():
    found = round_of(grid_of())
    assert found.took_part == list(SAMPLES)
    assert (found.absent, found.withheld) == ({}, {})
    equals_the_plain_mean(found, AFTER, SAMPLES, 4)
    assert weights_of(found)[COUNTER] == plain_mean(AFTER, SAMPLES)[COUNTER]
    assert weights_of(found)[CONSTANT].tobytes() == BEFORE[CONSTANT].tobytes()
    assert all(share == 0 for share in [*found.reduced.values(), *found.clipped.values()])


@st.composite
def counts(draw: st.DrawFn) -> dict[str, dict[str, int]]:
    sites = list(SAMPLES)[: draw(st.integers(3, 4))]
    return {site: {group: draw(st.integers(0, MOST)) for group in GROUPS} for site in sites}


@settings(max_examples=15, deadline=None)
@given(counts(), st.integers(0, 2**31))
def test_any_counts_give_the_mean_by_modality(samples, seed):
    after = {site: trained(BEFORE, seed + number) for number, site in enumerate(samples)}
    found = round_of(grid_of(after, samples), tuple(samples))
    equals_the_plain_mean(found, after, samples, len(samples))


def test_the_servers_view_of_one_site_is_masked():
    grid = grid_of()
    round_of(grid)
    for site in SAMPLES:
        seen, plain = masked(grid, site), plain_vectors(site, 4)
        assert [vector.shape for vector in seen] == [vector.shape for vector in plain]
        vector, own = np.concatenate(seen), np.concatenate(plain)
        assert looks_uniform(vector)
        assert not looks_uniform(own)
        assert np.mean(vector == own) < 1e-3
        assert abs(np.corrcoef(vector, own)[0, 1]) < 5 / np.sqrt(len(own))


def test_a_site_stays_masked_when_the_server_takes_off_all_that_it_is_given():
    """After the last stage the server holds every site's own mask; the masks between pairs of sites remain."""
    grid = grid_of()
    round_of(grid)
    shares: dict[int, list[bytes]] = {}
    for stage, _, content in grid.seen:
        if stage == Stage.UNMASK:
            said = content.config_records[RECORD_KEY_CONFIGS]
            for owner, share in zip(said[Key.NODE_ID_LIST], said[Key.SHARE_LIST], strict=True):
                shares.setdefault(owner, []).append(share)
    sums = 0
    for site in SAMPLES:
        seen = masked(grid, site)
        own_mask = expand(combine_shares(shares[NODES[site]]), MODULUS, [vector.shape for vector in seen])
        left = np.concatenate([(v - m) % MODULUS for v, m in zip(seen, own_mask, strict=True)])
        assert looks_uniform(left)
        assert np.mean(left == np.concatenate(plain_vectors(site, 4))) < 1e-3
        sums = (sums + left) % MODULUS
    assert not looks_uniform(sums)  # only over all sites do they cancel


def test_two_rounds_and_two_sites_have_other_masks():
    one, other = grid_of(), grid_of()
    round_of(one), round_of(other)
    first, again = np.concatenate(masked(one, "northgate")), np.concatenate(masked(other, "northgate"))
    assert np.mean(first == again) < 1e-3
    assert looks_uniform((first - again) % MODULUS)


def test_nothing_else_tells_a_sites_update_or_its_counts():
    grid = grid_of()
    found = round_of(grid)
    for stage, _, content in grid.seen:
        assert not any(content.array_records.values())
        allowed = {RECORD_KEY_CONFIGS}
        if stage == Stage.COLLECT_MASKED_VECTORS:
            allowed |= {"facts", "fitres.metrics", "fitres.num_examples", "fitres.parameters", "fitres.status"}
            assert content.metric_records["fitres.num_examples"] == {"num_examples": 1}
            assert content.config_records["fitres.metrics"] == {}
        assert set(content) == allowed
    assert {site: dict(reply["facts"]) for site, reply in found.replies.items()} == {
        site: {"hospital": site, "crowd": 4} for site in SAMPLES
    }


def test_bytes_of_all_stages_are_counted():
    grid = grid_of()
    found = round_of(grid)
    values = sum(vector.size for vector in masked(grid, "summit"))
    model = sum(value.nbytes for value in BEFORE.values())
    for site, count in found.bytes.items():
        assert 8 * values < count["from_site"] < 8 * values + 10_000, site
        assert model < count["to_site"] < model + 10_000


def test_a_group_that_nobody_or_one_site_trained_keeps_its_value():
    samples = {site: {"fusion": 64} for site in SAMPLES} | {"summit": {"fusion": 19, "pathology": 7}}
    found = round_of(grid_of(samples=samples))
    assert (found.contributors["genomics"], found.withheld) == (0, {"pathology": 1})
    equals_the_plain_mean(found, AFTER, samples, 4)
    alone = Secure(minimum_contributors=1)
    found = round_of(grid_of(samples=samples), chosen=alone)
    assert (found.samples["pathology"], found.withheld) == (7, {})
    equals_the_plain_mean(found, AFTER, samples, 4, alone)


def test_groups_that_are_not_summed_never_travel():
    grid = grid_of()
    found = round_of(grid, groups=["fusion"])
    assert found.contributors == {"fusion": 4}
    assert [vector.size for vector in masked(grid, "riverside")] == [1, 4, 64 * 64]
    assert set(found.differences) == {"encoder.fusion.blocks.layer"}
    assert weights_of(found)[VARIANCE] is BEFORE[VARIANCE]


def test_a_long_step_is_shortened_and_reported():
    chosen = Secure(norm=0.5, statistic_range=1e-3)
    found = round_of(grid_of(), chosen=chosen)
    order = SecureOrder.of(chosen, MOST, GROUPS)
    name = "encoder.fusion.blocks.layer"
    total, expected, reduced = 0, np.zeros(SHAPES[name]), []
    for site, samples in SAMPLES.items():
        difference = AFTER[site][name].astype(np.float64) - BEFORE[name]
        shorter = min(1.0, 0.5 / np.linalg.norm(difference))
        expected += samples["fusion"] * shorter * difference
        total += samples["fusion"]
        reduced.append(1 - shorter)
    bound = order.bound(name, BEFORE[name], 4, 4, total)
    assert np.abs(found.differences[name] - expected / total).max() <= bound * (1 + 1e-6)
    assert found.reduced["fusion"] == pytest.approx(np.mean(reduced), abs=1e-6)
    assert found.reduced["objective:alignment"] == pytest.approx(0, abs=1e-6)
    assert found.clipped["pathology"] > 0
    assert abs(found.differences[COUNTER]) <= 1e-3 * 200


def test_each_group_is_clipped_to_its_own_length():
    chosen = Secure(norm=1e-3, norms={"fusion": 50.0})
    found = round_of(grid_of(), chosen=chosen)
    order = SecureOrder.of(chosen, MOST, GROUPS)
    name = "encoder.fusion.blocks.layer"
    total = sum(samples["fusion"] for samples in SAMPLES.values())
    mean = sum(
        samples["fusion"] / total * (AFTER[site][name].astype(np.float64) - BEFORE[name])
        for site, samples in SAMPLES.items()
    )
    bound = order.bound(name, BEFORE[name], 4, 4, total)
    assert np.abs(found.differences[name] - mean).max() <= bound * (1 + 1e-6)
    assert found.reduced["fusion"] == pytest.approx(0, abs=1e-6) and found.reduced["pathology"] > 0.9


def test_norms_that_are_none_are_named():
    with pytest.raises(UserError, match=r"secure\.norms\.genomics: 0; give a number above 0"):
        Secure(norms={"genomics": 0})
    assert Secure(norm=1.0, norms={"a": 3.0}).at_least(2.0) == Secure(norm=2.0, norms={"a": 3.0})


def test_arrays_of_an_untrained_group_are_not_read():
    order = SecureOrder.of(Secure(), MOST, GROUPS)
    spoilt = {
        name: np.full_like(value, 1e30) if "genomics" in name else value for name, value in AFTER["northgate"].items()
    }
    for one, other in zip(
        submission(order, BEFORE, update_of(spoilt, SAMPLES["northgate"])).arrays,
        submission(order, BEFORE, update_of(AFTER["northgate"], SAMPLES["northgate"])).arrays,
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_secrets_stay_in_the_sites_own_state():
    grid = grid_of()
    round_of(grid)
    node = NODES["summit"]
    proto = type(context_to_proto(Context(1, node, {}, RecordDict(), {})))
    kept = context_from_proto(proto.FromString(grid.states[node])).state.config_records[RECORD_KEY_STATE]
    secrets = SecAggPlusState(**kept)
    sent = [repr(content).encode() for _, _, content in grid.seen]
    assert secrets.sk1 and not any(secrets.sk1[40:80] in text for text in sent)


@given(st.integers(2, 5000))
def test_sums_never_pass_the_modulus(sites):
    assert sites * levels(sites) < MODULUS
    assert levels(sites) <= 2**30
    assert levels(sites) == 2**30 or 2 * levels(sites) * (sites + 1) > MODULUS // 2


@given(st.integers(2, 500), st.floats(0.01, 1))
def test_the_threshold_is_a_majority_and_can_be_reached(sites, share):
    needed = Secure(threshold=share).shares_needed(sites)
    assert sites / 2 < needed <= sites


def test_an_order_is_read_as_it_was_written():
    order = SecureOrder.of(Secure(norm=2.0), 12, ["b", "a"])
    assert SecureOrder.read(RecordDict({"secure": order.record()})) == order


def test_the_config_gives_the_settings():
    cfg = OmegaConf.load(ROOT / "configs/secure/secagg_plus.yaml")
    assert instantiate(cfg) == Secure()
