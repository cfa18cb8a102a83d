"""Differential privacy by site: clip, noise, what it spends, and what strategies may see of it."""

import itertools
import math

import hydra
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import RDPAccountant
from torch import nn

from foundation.command import instantiate
from foundation.engine.drift_correction import DriftSettings
from foundation.errors import UserError
from foundation.federation.privacy import Privacy, PrivateStrategy, SitePrivacy, private, training_settings
from foundation.federation.privacy.accountant import Accountant, delta_of, epsilon_of
from foundation.federation.privacy.clipping import Adaptive, Fixed, factor, update_noise
from foundation.federation.privacy.mechanism import CLIP, SITES, VOTE
from foundation.federation.secure import Secure, SecureOrder, submission
from foundation.federation.strategies.averaging import Cyclic, FedAvg, FedProx
from foundation.federation.strategies.robust import Median
from foundation.federation.strategies.scaffold import Scaffold
from foundation.federation.strategies.server_optimisers import FedAvgM
from foundation.federation.weights.aggregation import norm_of
from foundation.federation.weights.module import local_names
from foundation.federation.weights.update import SiteUpdate

REPORT, FUSION, STATISTIC = (
    "encoder.modalities.report.weight",
    "encoder.fusion.weight",
    "encoder.fusion.bn.running_mean",
)
COUNT = "encoder.fusion.bn.num_batches_tracked"
BUFFERS = frozenset({STATISTIC, COUNT})
PREVIOUS = {
    REPORT: np.full((30, 40), 0.5, dtype=np.float32),
    FUSION: np.zeros(800, dtype=np.float32),
    STATISTIC: np.ones(4, dtype=np.float32),
    COUNT: np.array(2, dtype=np.int64),
}


def privacy(place: str = "server", multiplier: float = 1.0, clipping: Fixed | None = None, **more) -> SitePrivacy:
    """A mechanism whose secrets are 0, 1, 2 and so on."""
    found = SitePrivacy(multiplier, clipping or Fixed(1.0), place, **more)
    found.secret = itertools.count().__next__
    return found


def change(seed: int, size: float = 1.0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        name: (size * generator.standard_normal(PREVIOUS[name].shape)).astype(np.float32) for name in (REPORT, FUSION)
    }


def update(difference: dict[str, np.ndarray], **samples: int) -> SiteUpdate:
    return SiteUpdate(difference, samples or {"report": 5, "fusion": 5})


def protect(mechanism: Privacy, difference: dict[str, np.ndarray], samples: dict[str, int] | None = None, **settings):
    counts = samples or {"report": 5, "fusion": 5}
    sent = SiteUpdate(difference, counts, metrics={"loss": 1.0, "seconds": 2.0})
    return mechanism.protect(sent, PREVIOUS, {SITES: 4.0, **settings}, BUFFERS)


# The accountant


@pytest.mark.parametrize(
    ("multiplier", "releases", "delta", "expected"),
    [  # dp-accounting 0.6.0, PLDAccountant, which bounds the exact figure from above
        (1.0, 1, 1e-5, 4.37717810002493),
        (1.0, 10, 1e-5, 17.85658683146691),
        (4.0, 100, 1e-6, 14.450776968552242),
        (0.8, 8, 1e-5, 20.675508047742515),
        (10.0, 30, 1e-5, 2.2070594796932776),
    ],
)
def test_epsilon_is_that_of_an_independent_accountant(multiplier, releases, delta, expected):
    counted = Accountant(delta)
    counted.compose(multiplier, releases)
    assert counted.epsilon() == pytest.approx(expected, rel=2e-4)
    assert counted.epsilon() <= expected


@settings(deadline=None, max_examples=30)
@given(st.floats(0.5, 20), st.integers(1, 50), st.sampled_from([1e-8, 1e-5, 1e-3]))
def test_renyi_accounting_bounds_it_from_above(multiplier, releases, delta):
    counted, bound = Accountant(delta), RDPAccountant()
    counted.compose(multiplier, releases)
    bound.history = [(multiplier, 1.0, releases)]
    assert counted.epsilon() <= bound.get_epsilon(delta) * (1 + 1e-9)
    assert delta_of(math.sqrt(counted.square), counted.epsilon()) <= delta * (1 + 1e-9)


def test_the_definition_holds_in_numbers():
    """Delta is the mass by which one neighbour's density exceeds e^epsilon times the other's."""
    mean, epsilon = 0.7, 1.3
    x = np.linspace(-12, 12, 2_000_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    other = np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi)
    mass = np.maximum(other - math.exp(epsilon) * density, 0).sum() * (x[1] - x[0])
    assert delta_of(mean, epsilon) == pytest.approx(mass, rel=1e-6)


def test_rounds_of_different_noise_compose_and_nothing_costs_nothing():
    counted = Accountant(1e-5)
    assert counted.epsilon() == 0
    counted.compose(2.0)
    counted.compose(1.0)
    assert counted.epsilon() == pytest.approx(epsilon_of(math.sqrt(1.25), 1e-5))
    assert counted.epsilon(sensitivity=2.0) == pytest.approx(epsilon_of(2 * math.sqrt(1.25), 1e-5))
    assert epsilon_of(1e-9, 1e-5) == 0
    assert epsilon_of(1e9, 1e-5) == math.inf


# The clip


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


# The noise


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


# The server's mean


def test_the_sum_moves_by_no_more_than_the_clip_whatever_one_site_sends():
    """Sensitivity, measured: with the same noise, the results with and without a site's update."""
    updates = {"a": update(change(1, 5.0)), "b": update(change(2, 0.001), fusion=9)}
    for hostile in (
        update(change(3, 1e6), report=10**9, fusion=10**9),
        update(change(4, 1e-4)),
        update(change(5), report=1),
    ):
        results = []
        for sent in (hostile, update({}, **dict(hostile.samples))):
            strategy = PrivateStrategy(FedAvg(), privacy(clipping=Fixed(0.3)), sites=3, secure=False)
            results.append(strategy.combine(PREVIOUS, {**updates, "c": sent}, BUFFERS).weights)
        moved = norm_of(results[0][name].astype(np.float64) - results[1][name] for name in (REPORT, FUSION))
        assert moved * 3 <= 0.3 * (1 + 1e-4)


def test_without_noise_it_is_the_plain_mean_of_clipped_updates_by_fixed_denominators():
    given = {"a": change(1), "b": change(2)}
    mechanism = privacy(multiplier=1e-12, clipping=Fixed(2.0), contributors={"report": 2})
    strategy = PrivateStrategy(FedAvg(), mechanism, sites=8, secure=False)
    found = strategy.combine(PREVIOUS, {"a": update(given["a"]), "b": update(given["b"], report=2, fusion=1)}, BUFFERS)
    clipped = {
        site: {name: value * factor(norm_of(changes.values()), 2.0) for name, value in changes.items()}
        for site, changes in given.items()
    }
    for name, denominator in ((REPORT, 2), (FUSION, 8)):
        expected = PREVIOUS[name] + (clipped["a"][name] + clipped["b"][name]) / denominator
        assert found.weights[name] == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(found.weights[STATISTIC], PREVIOUS[STATISTIC])


def test_a_masked_sum_gives_the_same_as_its_updates():
    """Under secure aggregation one update arrives whose samples count sites."""
    given = [change(1, 0.001), change(2, 0.001)]
    mean = {name: (given[0][name] + given[1][name]) / 2 for name in given[0]}
    plain = PrivateStrategy(FedAvg(), privacy(), 5, secure=False)
    masked = PrivateStrategy(FedAvg(), privacy(), 5, secure=True)
    one = plain.combine(PREVIOUS, {"a": update(given[0]), "b": update(given[1])}, BUFFERS)
    other = masked.combine(PREVIOUS, {"all": update(mean, report=2, fusion=2)}, BUFFERS)
    assert one.weights[REPORT] == pytest.approx(other.weights[REPORT], abs=1e-6)
    assert one.coverage["report"] == {"a": 0.2, "b": 0.2} and other.coverage["report"] == {"all": 0.4}


def test_too_few_shares_leave_a_group_as_it_is():
    strategy = PrivateStrategy(FedAvg(), privacy("shares", attendance=0.5, contributors={"report": 8}), 4, secure=True)
    found = strategy.combine(PREVIOUS, {"all": update(change(1), report=3, fusion=2)}, BUFFERS)
    assert np.array_equal(found.weights[REPORT], PREVIOUS[REPORT]), "3 of the 4 that are needed"
    assert found.weights[FUSION] == pytest.approx(PREVIOUS[FUSION] + change(1)[FUSION] * 2 / 4, abs=1e-6)


def test_noise_of_the_sites_leaves_strategies_free_but_for_weights():
    strategy = PrivateStrategy(FedAvg(), privacy("site"), 4, secure=False)
    a, b = change(1), change(2)
    found = strategy.combine(PREVIOUS, {"a": update(a, report=1), "b": update(b, report=10**6)}, BUFFERS)
    assert found.weights[REPORT] == pytest.approx(PREVIOUS[REPORT] + (a[REPORT] + b[REPORT]) / 2, abs=1e-6)
    assert found.coverage["report"] == {"a": 0.5, "b": 0.5}
    robust = PrivateStrategy(Median(hostile=1), privacy("site"), 4, secure=False)
    assert robust.combine(PREVIOUS, {s: update(change(i)) for i, s in enumerate("abc")}, BUFFERS).coverage["report"]


def test_server_optimisers_step_along_the_noisy_mean():
    strategy = PrivateStrategy(FedAvgM(1.0, 0.5), privacy(multiplier=1e-12, clipping=Fixed(1e3)), 1, secure=False)
    given = change(1)
    first = strategy.combine(PREVIOUS, {"a": update(given)}, BUFFERS).weights
    assert first[FUSION] == pytest.approx(PREVIOUS[FUSION] + given[FUSION], abs=1e-5)


# The adaptive clip


@pytest.mark.parametrize("quantile", [0.3, 0.5, 0.8])
def test_the_clip_finds_the_quantile_of_the_norms(quantile):
    generator = np.random.default_rng(0)
    mechanism = privacy(multiplier=0.5, clipping=Adaptive(0.01, quantile, 0.2))
    strategy = PrivateStrategy(FedAvg(), mechanism, sites=100, secure=False)
    previous = {FUSION: np.zeros(2, dtype=np.float32)}
    clips = []
    for _ in range(150):
        norms = np.exp(generator.standard_normal(100))
        updates = {
            f"{place:03d}": SiteUpdate({FUSION: np.array([norm, 0], dtype=np.float32)}, {"fusion": 1})
            for place, norm in enumerate(norms)
        }
        strategy.combine(previous, updates, frozenset())
        clips.append(strategy.clip)
    within = np.mean(np.exp(generator.standard_normal(10**5)) <= np.exp(np.mean(np.log(clips[-60:]))))
    assert within == pytest.approx(quantile, abs=0.03)
    assert strategy.site_settings()[CLIP] == clips[-1]


def test_votes_cost_noise_and_together_they_spend_what_is_said():
    mechanism = privacy(multiplier=1.2, clipping=Adaptive(1.0))
    assert mechanism.update_noise == pytest.approx(1.2 / math.sqrt(0.9))
    counted = Accountant(1e-5)
    counted.compose(mechanism.update_noise)
    counted.compose(2 * mechanism.vote_noise)  # a vote's sensitivity is 1/2
    assert counted.epsilon() == pytest.approx(mechanism.spent(1).epsilon)
    with pytest.raises(UserError, match="count_noise: 0.5; votes alone would spend"):
        update_noise(1.0, 0.5)


def test_sites_vote_with_noise_of_their_own():
    mechanism = privacy("site", clipping=Adaptive(1.0, count_noise=2.0))
    votes = [protect(mechanism, change(0, 100.0)).metrics[VOTE] for _ in range(500)]
    assert np.mean(votes) == pytest.approx(-0.5, abs=0.3)
    assert np.std(votes) == pytest.approx(2.0, rel=0.15)


# What is refused, promised, recorded and kept


@pytest.mark.parametrize(
    ("inner", "mechanism", "secure", "named"),
    [
        (Scaffold(), privacy("site"), False, "Scaffold sends control variates"),
        (Median(), privacy("server"), False, "Median compares updates"),
        (Cyclic(), privacy("server"), False, "Cyclic passes on single updates"),
        (FedAvg(), privacy("shares"), False, "shares of noise protect the sum alone"),
        (FedAvg(), privacy(clipping=Adaptive(1.0)), True, "an adaptive clip counts sites"),
    ],
)
def test_what_would_break_the_count_is_refused(inner, mechanism, secure, named):
    with pytest.raises(UserError, match=named):
        private(inner, mechanism, 4, secure)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"noise_multiplier": 0.0}, "privacy.noise_multiplier"),
        ({"place": "everywhere"}, "privacy.place"),
        ({"delta": 1.0}, "privacy.delta"),
        ({"attendance": 0.0}, "privacy.attendance"),
        ({"contributors": {"report": 0}}, "privacy.contributors.report"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, named):
    with pytest.raises(UserError, match=named):
        SitePrivacy(**{"noise_multiplier": 1.0, "clipping": Fixed(1.0), **arguments})


def test_promises_count_the_noise_that_a_site_adds_itself():
    settings = {CLIP: 0.7, SITES: 4.0}
    assert privacy("server").promises(settings, False).site_dp is None
    found = privacy("site", 1.5).promises(settings, False).site_dp
    assert (found.noise_multiplier, found.clip) == (1.5, 0.7)
    found = privacy("shares", 1.5).promises(settings, True)
    assert found.secure_aggregation and found.site_dp.noise_multiplier == pytest.approx(0.75)
    with pytest.raises(UserError, match="secure=secagg_plus"):
        privacy("shares").promises(settings, False)


def test_the_bound_for_masking_holds_the_noise():
    mechanism = privacy("shares", 5.0)
    found = protect(mechanism, change(0)).difference
    longest = mechanism.longest(PREVIOUS, {SITES: 4.0})
    assert all(norm_of([value]) < longest < 2 * norm_of([value]) for value in (found[REPORT],))


def test_masking_under_that_bound_takes_nothing_of_the_noise_away():
    strategy = PrivateStrategy(FedAvg(), privacy("shares", 5.0), 4, secure=True)
    secure = Secure(norm=strategy.longest(PREVIOUS))
    found = protect(strategy.privacy, change(0))
    order = SecureOrder.of(secure, most=64, groups=["report", "fusion"])
    assert submission(order, PREVIOUS, found).reduced == {"report": 0.0, "fusion": 0.0}


def test_the_record_names_epsilon_and_what_it_rests_on():
    strategy = PrivateStrategy(FedProx(), privacy(multiplier=4.0), 4, secure=False)
    for _ in range(3):
        strategy.combine(PREVIOUS, {"a": update(change(1))}, BUFFERS)
    found = strategy.record()
    assert found["epsilon"] == pytest.approx(strategy.privacy.spent(3).epsilon) and found["releases"] == 3
    assert found["epsilon_if_replaced"] == pytest.approx(strategy.privacy.spent(3, replaced=True).epsilon)
    assert found["epsilon_if_replaced"] > found["epsilon"]
    assert {"delta", "noise_multiplier", "neighbours", "sampling", "clip", "place"} <= set(found)
    assert any("trusted" in line for line in found["assumptions"])
    assert any("Evaluation metrics" in line for line in found["assumptions"])


def test_training_is_asked_for_what_the_strategy_asks_alone():
    strategy = PrivateStrategy(FedProx(0.3), privacy(), 4, secure=False)
    assert training_settings(strategy.site_settings()) == {"proximal": 0.3}
    assert DriftSettings.of(training_settings(strategy.site_settings())).proximal == 0.3


def test_a_round_without_updates_spends_nothing():
    strategy = PrivateStrategy(FedAvg(), privacy(), 4, secure=False)
    assert np.array_equal(strategy.combine(PREVIOUS, {}, BUFFERS).weights[REPORT], PREVIOUS[REPORT])
    assert strategy.record()["epsilon"] == 0


def test_a_site_spends_only_in_the_rounds_that_it_was_in():
    """One site after another, each noised by itself: two rounds of three stages are two releases of each site."""
    strategy = PrivateStrategy(Cyclic(), privacy("site", multiplier=2.0), 3, secure=False)
    for _ in range(2):
        for site in "abc":
            strategy.combine(PREVIOUS, {site: update(change(1))}, BUFFERS)
    assert strategy.record()["releases"] == 2
    assert strategy.record()["epsilon"] == pytest.approx(strategy.privacy.spent(2).epsilon)


def test_a_resumed_run_goes_on_with_clip_count_and_moments():
    def made() -> PrivateStrategy:
        return PrivateStrategy(FedAvgM(), privacy(clipping=Adaptive(0.5)), 4, secure=False)

    strategy, again = made(), made()
    strategy.combine(PREVIOUS, {"a": update(change(1))}, BUFFERS)
    again.load_state(strategy.state())
    assert again.clip == strategy.clip != 0.5
    assert again.record() == strategy.record()
    assert np.array_equal(again.inner.kept["momentum"][FUSION], strategy.inner.kept["momentum"][FUSION])
    with pytest.raises(ValueError, match="without differential privacy"):
        made().load_state(FedAvgM().state())


def test_without_privacy_nothing_changes():
    given = change(0, 100.0)
    found = protect(Privacy(), given)
    assert all(found.difference[name] is given[name] for name in given)
    assert found.samples == {"report": 5, "fusion": 5} and found.metrics == {"loss": 1.0, "seconds": 2.0}
    strategy = FedAvg()
    assert private(strategy, Privacy(), 4, False) is strategy
    assert Privacy().spent(3) is None


@pytest.mark.parametrize("name", ["none", "central", "central_adaptive", "local", "distributed"])
def test_shipped_configs_build(name):
    with hydra.initialize_config_module("configs", version_base="1.3"):
        built = instantiate(hydra.compose(f"privacy/{name}").privacy)
    assert isinstance(built, Privacy)
    expected = {"central": "server", "central_adaptive": "server", "local": "site", "distributed": "shares"}
    assert getattr(built, "place", None) == expected.get(name)
