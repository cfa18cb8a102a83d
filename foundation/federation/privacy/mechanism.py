"""Differential privacy by site: what a site does to its update, and what that promises.

The mechanism (client-level DP-FedAvg, McMahan et al. 2018). A site's difference, over all parameters that travel, is
clipped as a whole to an L2 norm. Sites count alike: weights by samples are replaced by a denominator for each group
that is fixed before the round, so that the sum over sites has the clip as its sensitivity, whatever modalities each of
them holds. Gaussian noise of `noise_multiplier` times the clip covers every coordinate of every group in the sum.

What is protected: everything that a site's patients put into its updates. Neighbours are two federations of which one
has a site's update (and its vote on the clip) set to zero. Public are who takes part, and which groups each site
trains: whose modalities a hospital holds is agreed on before.

Where the noise is added decides whom one must trust:

- `server`: after the sum. Whoever reads the model is kept out, the server is trusted.
- `site`: at each site, in full. Each update is private by itself, against the server too; the mean is far noisier.
- `shares`: at each site a share, so that the sum has the noise of `server`. Needs secure aggregation, and sites that
  do as they are told: without the one, or the other, an update is protected by a share of the noise only.

Counters and running statistics are no part of it, and are never let through: a site whose buffers changed is told to
keep them (`strategy.local: [buffers]`), and the server leaves its own as they are: give it those of the
federated statistics, by which the exported encoder then standardises.
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.ledger.spent import Spent
from foundation.federation.policy import Noise as Promised
from foundation.federation.policy import PrivacyFacts
from foundation.federation.privacy.accountant import REPLACED, Accountant
from foundation.federation.privacy.base import Privacy, Settings
from foundation.federation.privacy.clipping import Fixed, factor, update_noise
from foundation.federation.privacy.noise import Noise, Secret, fresh_secret
from foundation.federation.weights.aggregation import norm_of
from foundation.federation.weights.types import Arrays, Weights
from foundation.federation.weights.update import SiteUpdate

Place = Literal["server", "site", "shares"]
CLIP, SITES, VOTE = "privacy_clip", "privacy_sites", "privacy_vote"
_PLACES = ("server", "site", "shares")
_PUBLIC = ("seconds",)


class SitePrivacy(Privacy):
    """Clipped and noised updates.

    Args:
        noise_multiplier: standard deviation of the noise on the sum (in each update, where `place` is `site`), in units
            of the clip.
        clipping: see `clipping`.
        place: where the noise is added; see this file's head.
        delta: at which epsilon is told; well below 1 / number of sites.
        contributors: by group, the denominator of its mean: as many sites as are known beforehand to train it. All
            sites of the run where a group is not named, which makes its steps the smaller the fewer train it.
        attendance: `shares` only: the part of a group's contributors that must be in the sum, for it to have all its
            noise; the group keeps its value if fewer are.
        training_metrics: let training losses leave as they are, outside of what is protected.
    """

    def __init__(
        self,
        noise_multiplier: float,
        clipping: Fixed,
        place: Place = "server",
        delta: float = 1e-5,
        contributors: Mapping[str, int] | None = None,
        attendance: float = 1.0,
        training_metrics: bool = False,
    ) -> None:
        if not 0 < noise_multiplier < math.inf:
            raise UserError(f"privacy.noise_multiplier: found {noise_multiplier}; give a number above 0")
        if place not in _PLACES:
            raise UserError(f"privacy.place: found {place!r}; choose from {', '.join(_PLACES)}")
        if not 0 < attendance <= 1:
            raise UserError(f"privacy.attendance: found {attendance}; give a share above 0 and up to 1")
        for group, count in (contributors or {}).items():
            if count < 1:
                raise UserError(f"privacy.contributors.{group}: found {count}; give how many sites train it")
        self.noise_multiplier = noise_multiplier
        self.clipping = clipping
        self.place = place
        self.delta = delta
        self.contributors = dict(contributors or {})
        self.attendance = attendance
        self.training_metrics = training_metrics
        self.vote_noise = clipping.vote_noise(noise_multiplier)
        self.update_noise = update_noise(noise_multiplier, self.vote_noise)
        self.secret: Secret = fresh_secret
        self.accountant()  # refuses a delta that cannot be

    def protect(
        self, update: SiteUpdate, previous: Arrays, settings: Settings, buffers: frozenset[str] = frozenset()
    ) -> SiteUpdate:
        """Clips an update, and adds the site's noise where it adds any.

        Args:
            update: of the site. Groups that it did not train are left out.
            previous: the parameters that travel.
            settings: of the order.
            buffers: names that no gradient trains.

        Returns:
            The update as it may leave, with 1 as the samples of each group that the site trained: the true counts are
            the patients', as are most metrics.

        Raises:
            UserError: if a buffer changed, or the update is not finite.
        """
        difference = update.difference
        trained = sorted(group for group, count in update.samples.items() if count > 0)
        names = [name for name in previous if group_of(name) in trained and not _unprotected(name, previous, buffers)]
        _check_buffers(difference, previous, buffers)
        norm = norm_of(difference[name] for name in names if name in difference)
        if not math.isfinite(norm):
            raise UserError("privacy: the update is not finite, so it cannot be clipped; lower the learning rate")
        clip, noise = self.clip(settings), Noise(self.secret())
        by = factor(norm, clip)
        protected: Weights = {}
        for name in names:
            deviation = self.site_deviation(group_of(name), settings)
            if name not in difference and not deviation:
                continue
            value = by * update.flat(name, previous[name]).astype(np.float64)
            if deviation:
                noise.add(name, value, deviation)
            protected[name] = value.astype(previous[name].dtype).reshape(previous[name].shape)
        public = {name: value for name, value in update.metrics.items() if self.training_metrics or name in _PUBLIC}
        if self.place == "site" and self.vote_noise is not None:
            public[VOTE] = vote(norm, clip) + noise.of("vote", self.vote_noise)
        return SiteUpdate(protected, dict.fromkeys(trained, 1), metrics=public)

    def clip(self, settings: Settings) -> float:
        """The clip of a round."""
        return float(settings.get(CLIP, self.clipping.norm))

    def site_deviation(self, group: str, settings: Settings) -> float:
        """Standard deviation of the noise that a site adds to a group."""
        if self.place == "server":
            return 0.0
        whole = self.update_noise * self.clip(settings)
        return whole if self.place == "site" else whole / math.sqrt(self.needed(group, int(settings[SITES])))

    def needed(self, group: str, sites: int) -> int:
        """How many sites' shares make up a group's noise."""
        return math.ceil(self.attendance * self.contributors.get(group, sites))

    def longest(self, previous: Arrays, settings: Settings) -> float:
        """A norm that no group's update has, noise included, but once in a billion times: for what must bound it."""
        sizes: dict[str, int] = {}
        for name, value in previous.items():
            sizes[group_of(name)] = sizes.get(group_of(name), 0) + value.size
        lengths = [self.site_deviation(group, settings) * (math.sqrt(size) + 7) for group, size in sizes.items()]
        return self.clip(settings) + max(lengths, default=0.0)

    def promises(self, settings: Settings, secure: bool) -> PrivacyFacts:
        """See `Privacy.promises`. Noise of the server is none that a site can vouch for."""
        if self.place == "server":
            return PrivacyFacts(secure_aggregation=secure, server_noise=True)
        multiplier = self.noise_multiplier
        if self.place == "shares":
            check_shares(secure)
            groups = [*self.contributors, ""]
            multiplier /= math.sqrt(max(self.needed(group, int(settings[SITES])) for group in groups))
        return PrivacyFacts(secure_aggregation=secure, site_dp=Promised(multiplier, self.clip(settings)))

    def accountant(self) -> Accountant:
        """A count that begins."""
        return Accountant(self.delta)

    def spent(self, releases: int, replaced: bool = False) -> Spent:
        counted = self.accountant()
        counted.compose(self.noise_multiplier, releases)
        return counted.spent(REPLACED if replaced else 1.0)


def vote(norm: float, clip: float) -> float:
    """A site's vote on the clip."""
    return 0.5 if norm <= clip else -0.5


def check_shares(secure: bool) -> None:
    """Holds `shares` to what they need.

    Raises:
        UserError: without secure aggregation.
    """
    if not secure:
        raise UserError(
            "privacy.place: shares of noise protect the sum alone, and without secure aggregation the server sees each "
            "update; set secure=secagg_plus, or privacy.place to server or site"
        )


def _unprotected(name: str, previous: Arrays, buffers: frozenset[str]) -> bool:
    return name in buffers or previous[name].dtype.kind != "f"


def _check_buffers(difference: Arrays, previous: Arrays, buffers: frozenset[str]) -> None:
    for name, value in difference.items():
        if _unprotected(name, previous, buffers) and np.any(value):
            raise UserError(
                f"privacy: {name} changed in training, and counters and running statistics do not travel under "
                "differential privacy; keep them at the sites: strategy=silobn, or strategy.local=[buffers]"
            )
