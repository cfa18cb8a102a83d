"""Strategies under differential privacy: they see a noisy mean, or updates that are private by themselves."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.privacy.base import Privacy
from foundation.federation.privacy.clipping import bounded_vote, factor
from foundation.federation.privacy.mechanism import CLIP, SITES, VOTE, SitePrivacy, check_shares, vote
from foundation.federation.privacy.noise import Noise
from foundation.federation.privacy.record import privacy_record
from foundation.federation.strategies.base import Strategy, Updates
from foundation.federation.strategies.robust import Robust
from foundation.federation.weights.aggregation import Aggregate, Floats, norm_of, weighted_sum
from foundation.federation.weights.lazy import Computed
from foundation.federation.weights.types import Arrays, Weights
from foundation.federation.weights.update import SiteUpdate

_CLIP, _RELEASES = "privacy/clip", "privacy/releases/"
_FEDERATION = "federation"


def private(strategy: Strategy, privacy: Privacy, sites: int, secure: bool) -> Strategy:
    """A strategy as a run's privacy lets it work; the same one where there is none.

    Args:
        strategy: of the run.
        privacy: likewise.
        sites: of the run that train.
        secure: whether updates are masked, so that one sum over the sites arrives in their place.

    Raises:
        UserError: if the two do not go together.
    """
    return PrivateStrategy(strategy, privacy, sites, secure) if isinstance(privacy, SitePrivacy) else strategy


class PrivateStrategy(Strategy):
    """Gives a strategy what it may see, and counts what that spends.

    Noise of server or shares: the strategy sees one update, the noisy sum by fixed denominators. Noise of the sites: it
    sees their updates, which it may treat as it likes but not weigh by samples.

    Args:
        inner: the strategy.
        privacy: what is done to updates.
        sites: of the run that train.
        secure: whether one sum arrives in the place of updates, its `samples` counting sites.
    """

    def __init__(self, inner: Strategy, privacy: SitePrivacy, sites: int, secure: bool) -> None:
        super().__init__(inner.local)
        _check(inner, privacy, secure)
        self.inner = inner
        self.privacy = privacy
        self.sites = sites
        self.secure = secure
        self.clip = privacy.clipping.norm
        self.releases: Counter[str] = Counter()

    def site_settings(self) -> dict[str, float | str]:
        return {**self.inner.site_settings(), CLIP: self.clip, SITES: float(self.sites)}

    def stages(self, number: int, sites: list[str]) -> list[list[str]]:
        return self.inner.stages(number, sites)

    def combine(self, previous: Arrays, updates: Updates, buffers: frozenset[str]) -> Aggregate:
        if not updates:
            return self.inner.combine(previous, updates, buffers)
        ordered = {site: updates[site] for site in sorted(updates)}
        if self.privacy.place == "site":
            alike = {site: _alike(update) for site, update in ordered.items()}
            aggregate = self.inner.combine(previous, alike, buffers)
            votes = self._votes(ordered)
        else:
            aggregate, votes = self._noisy(previous, ordered, buffers)
        # One noise covers everybody in a sum; noise of the sites covers those whose updates are here.
        self.releases.update(list(ordered) if self.privacy.place == "site" else [_FEDERATION])
        if votes is not None:
            self.clip = self.privacy.clipping.next(self.clip, votes / len(ordered) + 0.5)
        return aggregate

    def record(self) -> dict[str, Any]:
        """Epsilon so far, of the site that spent most, and what it rests on, for history and run record."""
        counted = self.privacy.accountant()
        counted.compose(self.privacy.noise_multiplier, max(self.releases.values(), default=0))
        return privacy_record(self.privacy, counted, self.clip, self.secure)

    def longest(self, previous: Arrays) -> float:
        """The least `secure.norm` under which masking does not clip noise away; see `SitePrivacy.longest`."""
        return self.privacy.longest(previous, self.site_settings())

    def state(self) -> Weights:
        counts = {f"{_RELEASES}{site}": np.array([count]) for site, count in self.releases.items()}
        return {**self.inner.state(), _CLIP: np.array([self.clip]), **counts}

    def load_state(self, state: Weights) -> None:
        if _CLIP not in state:
            raise ValueError(f"state: holds no {_CLIP}, so it is that of a run without differential privacy")
        self.clip = float(np.asarray(state[_CLIP], dtype=np.float64)[0])
        counts = {
            name: np.asarray(value, dtype=np.int64) for name, value in state.items() if name.startswith(_RELEASES)
        }
        self.releases = Counter({name.removeprefix(_RELEASES): int(count[0]) for name, count in counts.items()})
        self.inner.load_state({name: value for name, value in state.items() if not name.startswith("privacy/")})

    def _noisy(self, previous: Arrays, updates: Updates, buffers: frozenset[str]) -> tuple[Aggregate, float | None]:
        """One update out of all, and the noisy sum of votes where the server takes them."""
        names = [
            name
            for name, value in previous.items()
            if value.dtype.kind == "f" and name not in buffers and not self.is_local(name)
        ]
        noise = Noise(self.privacy.secret())
        scales, votes = self._clipped(updates, names, noise)
        counts = {group: self._counts(updates, group) for group in {group_of(name): None for name in previous}}
        totals = {group: sum(counts[group].values()) for group in {group_of(name): None for name in names}}
        samples = {group: total for group, total in totals.items() if total >= self._least(group)}

        def mean(name: str) -> Floats:
            """The sites' clipped differences of a parameter, summed, noised and divided; as it is read."""
            group, before = group_of(name), previous[name]
            parts = ((updates[site].flat(name, before), scales[site] * count) for site, count in counts[group].items())
            total = weighted_sum(before.shape, parts)
            if self.privacy.place == "server":
                noise.add(name, total.reshape(-1), self.privacy.update_noise * self.clip)
            total /= self.denominator(group)
            return total

        update = SiteUpdate(Computed(names, mean), samples)
        aggregate = self.inner.combine(previous, {_FEDERATION: update} if samples else {}, buffers)
        for group in aggregate.coverage:
            share = 1 / self.denominator(group) if group in samples else 0.0
            aggregate.coverage[group] = {site: count * share for site, count in counts[group].items()}
        return aggregate, votes

    def _clipped(self, updates: Updates, names: list[str], noise: Noise) -> tuple[dict[str, float], float | None]:
        """By site, what clips its update, and the noisy sum of votes, where the server does either."""
        if self.privacy.place != "server" or self.secure:
            return dict.fromkeys(updates, 1.0), None
        norms = {site: _norm(update, names) for site, update in updates.items()}
        scales = {site: factor(norm, self.clip) for site, norm in norms.items()}
        if self.privacy.vote_noise is None:
            return scales, None
        return scales, sum(vote(norm, self.clip) for norm in norms.values()) + noise.of("vote", self.privacy.vote_noise)

    def denominator(self, group: str) -> int:
        """Of a group's mean, known before the round."""
        return self.privacy.contributors.get(group, self.sites)

    def _counts(self, updates: Updates, group: str) -> dict[str, int]:
        """How many sites' differences an update stands for; a site that claims many is one all the same."""
        claimed = {site: update.samples.get(group, 0) for site, update in updates.items()}
        return {site: count if self.secure else 1 for site, count in claimed.items() if count > 0}

    def _least(self, group: str) -> int:
        """As few sites' differences let a group move."""
        return self.privacy.needed(group, self.sites) if self.privacy.place == "shares" else 1

    def _votes(self, updates: Updates) -> float | None:
        if self.privacy.vote_noise is None:
            return None
        deviation = self.privacy.vote_noise
        return sum(bounded_vote(update.metrics.get(VOTE, 0.0), deviation) for update in updates.values())


def _alike(update: SiteUpdate) -> SiteUpdate:
    """A site's update that counts as much as any other's."""
    return replace(update, samples={group: 1 for group, count in update.samples.items() if count > 0})


def _norm(update: SiteUpdate, names: list[str]) -> float:
    trained = (name for name in names if update.samples.get(group_of(name), 0) > 0)
    return norm_of(update.difference[name] for name in trained if name in update.difference)


def _check(inner: Strategy, privacy: SitePrivacy, secure: bool) -> None:
    """Refuses what would break the count.

    Raises:
        UserError: naming both.
    """
    kind = type(inner).__name__
    if inner.server_control() is not None:
        raise UserError(
            f"strategy: {kind} sends control variates, which privacy does not cover; take fedavg or fedprox"
        )
    if privacy.place == "shares":
        check_shares(secure)
    if secure and privacy.vote_noise is not None:
        raise UserError("privacy.clipping: an adaptive clip counts sites, which secure aggregation hides; take fixed")
    if privacy.place == "site":
        return
    if isinstance(inner, Robust):
        raise UserError(f"strategy: {kind} compares updates, and noise covers their sum; set privacy.place=site")
    if len(inner.stages(1, ["one", "other"])) > 1:
        raise UserError(f"strategy: {kind} passes on single updates, and noise covers a sum; set privacy.place=site")
