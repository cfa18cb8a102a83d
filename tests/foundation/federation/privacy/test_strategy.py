"""Strategies under privacy: the server's mean, what is refused, promised, recorded and kept."""

import hydra
import numpy as np
import pytest

from foundation.command import instantiate
from foundation.errors import UserError
from foundation.federation.privacy import Privacy, PrivateStrategy, SitePrivacy, private
from foundation.federation.privacy.clipping import Adaptive, Fixed, factor
from foundation.federation.privacy.mechanism import CLIP, SITES
from foundation.federation.secure import Secure, SecureOrder, submission
from foundation.federation.strategies.averaging import Cyclic, FedAvg, FedProx
from foundation.federation.strategies.robust import Median
from foundation.federation.strategies.scaffold import Scaffold
from foundation.federation.strategies.server_optimisers import FedAvgM
from foundation.federation.weights.aggregation import norm_of
from tests.foundation.federation.privacy.updates import (
    BUFFERS,
    FUSION,
    PREVIOUS,
    REPORT,
    STATISTIC,
    change,
    privacy,
    protect,
    update,
)


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
