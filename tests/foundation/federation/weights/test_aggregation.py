"""Properties of aggregation by modality."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from foundation.federation.groups import group_of
from foundation.federation.strategies.averaging import FedAvg
from foundation.federation.weights.aggregation import Aggregate
from foundation.federation.weights.update import SiteUpdate
from pretrain.fit import build_module

NAMES = {
    "encoder.modalities.pathology.pool.weight": "pathology",
    "encoder.fusion.kind.pathology": "pathology",
    "encoder.modalities.genomics.gene": "genomics",
    "encoder.fusion.norm.genomics.bias": "genomics",
    "encoder.fusion.blocks.layer": "fusion",
    "objectives.alignment.log_scale": "objective:alignment",
}
COUNTED = "encoder.modalities.pathology.backbone.bn1.num_batches_tracked"
GROUPS = sorted(set(NAMES.values()))
SITES = ("north", "south", "east", "west")


def weights(rng: np.random.Generator) -> dict:
    found = {name: rng.normal(size=3).astype(np.float32) for name in NAMES}
    return found | {COUNTED: np.array(rng.integers(1000), dtype=np.int64)}


@st.composite
def rounds(draw: st.DrawFn) -> tuple[dict, dict]:
    """A round's previous weights, and by site what it changed; each trained each group with 0 to 50 samples."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sites = SITES[: draw(st.integers(1, len(SITES)))]
    counts = {site: {group: draw(st.integers(0, 50)) for group in GROUPS} for site in sites}
    return weights(rng), {site: (weights(rng), counts[site]) for site in sites}


def aggregate(previous: dict, updates: dict) -> Aggregate:
    by_site = {site: SiteUpdate(difference, samples) for site, (difference, samples) in updates.items()}
    return FedAvg().combine(previous, by_site, frozenset())


@given(rounds())
def test_every_group_is_the_mean_weighted_by_its_own_samples(given_round):
    previous, updates = given_round
    found = aggregate(previous, updates).weights
    for name, group in NAMES.items():
        total = sum(samples[group] for _, samples in updates.values())
        if total:
            before = previous[name].astype(np.float64)
            by_hand = sum((before + site[name]) * samples[group] for site, samples in updates.values()) / total
            np.testing.assert_allclose(found[name], by_hand, rtol=1e-6, atol=1e-7)


@given(rounds())
def test_a_group_nobody_trained_keeps_its_value_bit_for_bit(given_round):
    previous, updates = given_round
    idle = {site: (values, {**samples, "genomics": 0}) for site, (values, samples) in updates.items()}
    found = aggregate(previous, idle)
    for name in (name for name, group in NAMES.items() if group == "genomics"):
        assert found.weights[name].tobytes() == previous[name].tobytes()
    assert found.coverage["genomics"] == {}


@given(rounds(), st.sampled_from([np.nan, np.inf, 1e30]))
def test_a_site_that_did_not_train_a_group_never_changes_it(given_round, value):
    previous, updates = given_round
    site = next(iter(updates))
    values, samples = updates[site]
    silent = {**updates, site: (values, {**samples, "pathology": 0})}
    spoilt = {n: np.full_like(v, value) if NAMES.get(n) == "pathology" else v for n, v in values.items()}
    loud = {**updates, site: (spoilt, {**samples, "pathology": 0})}
    quiet_weights, loud_weights = aggregate(previous, silent).weights, aggregate(previous, loud).weights
    for name in previous:
        np.testing.assert_array_equal(loud_weights[name], quiet_weights[name])


@given(rounds())
def test_one_site_alone_gives_its_weights_exactly(given_round):
    previous, updates = given_round
    values, samples = next(iter(updates.values()))
    found = aggregate(previous, {"alone": (values, {group: count + 1 for group, count in samples.items()})})
    for name in previous:
        np.testing.assert_array_equal(found.weights[name], previous[name] + values[name])
    assert found.coverage == {group: {"alone": 1.0} for group in GROUPS}


@given(rounds(), st.randoms(use_true_random=False))
def test_the_order_of_the_sites_does_not_matter(given_round, random):
    previous, updates = given_round
    names = list(updates)
    random.shuffle(names)
    one, other = aggregate(previous, updates), aggregate(previous, {name: updates[name] for name in names})
    for name in NAMES:
        np.testing.assert_allclose(one.weights[name], other.weights[name], rtol=1e-6, atol=1e-7)
    assert one.coverage == other.coverage


@given(rounds())
def test_coverage_shares_sum_to_one_over_the_sites_that_trained(given_round):
    previous, updates = given_round
    for group, shares in aggregate(previous, updates).coverage.items():
        assert set(shares) == {site for site, (_, samples) in updates.items() if samples[group]}
        assert not shares or sum(shares.values()) == pytest.approx(1, abs=1e-12)


@given(rounds())
def test_types_and_shapes_stay_and_counters_stay_whole(given_round):
    previous, updates = given_round
    assume(sum(samples["pathology"] for _, samples in updates.values()) > 0)
    found = aggregate(previous, updates).weights
    assert all(isinstance(value, np.ndarray) for value in found.values())
    assert {name: (value.dtype, value.shape) for name, value in found.items()} == {
        name: (value.dtype, value.shape) for name, value in previous.items()
    }
    trained = [int(values[COUNTED]) for values, samples in updates.values() if samples["pathology"]]
    assert min(trained) <= found[COUNTED] - previous[COUNTED] <= max(trained)


def test_a_site_that_did_not_send_a_group_at_all_counts_as_untrained():
    rng = np.random.default_rng(0)
    previous, own = weights(rng), weights(rng)
    found = aggregate(previous, {"north": (own, {"pathology": 4})})
    assert found.coverage["pathology"] == {"north": 1.0}
    assert found.coverage["genomics"] == {}


def test_every_weight_of_a_real_module_has_a_group(configure):
    module = build_module(configure(), None, 0, 1)
    modalities = list(module.encoder.modalities)
    groups = {name: group_of(name) for name in module.state_dict()}
    assert set(groups.values()) == {*modalities, "fusion", "objective:alignment", "objective:masked_genes"}
    for modality in modalities:
        own = {name for name, group in groups.items() if group == modality}
        assert {f"encoder.fusion.kind.{modality}", f"encoder.fusion.norm.{modality}.weight"} <= own
    assert groups["encoder.modalities.genomics.expression_mean"] == "genomics"
    assert groups["encoder.fusion.patient"] == "fusion"


@pytest.mark.parametrize(
    ("name", "group"),
    [("head.layers.0.weight", "head"), ("linear.bias", "linear"), ("encoder.extra", "encoder"), ("weight", "weight")],
)
def test_group_of_any_other_name_is_its_first_word(name, group):
    assert group_of(name) == group


@pytest.mark.parametrize("name", ["", ".weight"])
def test_group_of_a_name_without_a_first_word_is_refused(name):
    with pytest.raises(ValueError, match="belongs to no parameter group"):
        group_of(name)
