"""The clip that follows the sites' norms, and what its votes spend."""

import math

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.federation.privacy import PrivateStrategy
from foundation.federation.privacy.accountant import Accountant
from foundation.federation.privacy.clipping import Adaptive, update_noise
from foundation.federation.privacy.mechanism import CLIP, VOTE
from foundation.federation.strategies.averaging import FedAvg
from foundation.federation.weights.update import SiteUpdate
from tests.foundation.federation.privacy.updates import FUSION, change, privacy, protect


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
