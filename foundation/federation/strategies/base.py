"""What every aggregation rule shares: it combines differences group by group, over the sites that trained the group."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from foundation.federation.groups import group_of
from foundation.federation.weights.aggregation import Aggregate, Floats, moved, shares, weighted_sum
from foundation.federation.weights.sharing import is_local
from foundation.federation.weights.types import Arrays, Weights
from foundation.federation.weights.update import SiteUpdate

Updates = Mapping[str, SiteUpdate]
Coverage = dict[str, float]
Array = NDArray[np.generic]


class Strategy:
    """How a federation's updates become its next weights; by itself, the weighted mean.

    Args:
        local: patterns (`fnmatch`) of parameter names that never leave a site; `weights.module.local_names` turns
            `batch_norm` and `group:<name>` into names. The server neither reads nor changes them.
    """

    def __init__(self, local: Iterable[str] = ()) -> None:
        self.local = tuple(local)

    def site_settings(self) -> dict[str, float | str]:
        """What a site must add to its training."""
        return {}

    def stages(self, number: int, sites: list[str]) -> list[list[str]]:
        """Who trains after whom in round `number` (from 1); each stage starts from what the one before it became."""
        return [list(sites)]

    def server_control(self) -> Weights | None:
        """SCAFFOLD's c, sent to the sites: an absent name is zero, None means that there is no control."""
        return None

    def is_local(self, name: str) -> bool:
        """Whether a parameter stays at its site."""
        return is_local(name, self.local)

    def combine(self, previous: Arrays, updates: Updates, buffers: frozenset[str]) -> Aggregate:
        """The next weights, one parameter at a time; the order in which sites answered does not matter.

        Args:
            previous: the weights that the round started from; the result has their names, types and shapes.
            updates: by site.
            buffers: names that no gradient trains, above all running statistics and counters (`named_buffers()`): they
                are averaged, or taken by a robust rule, but never stepped by a server optimiser and have no control
                variate. Whole numbers count as such without being named.
        """
        groups: dict[str, list[str]] = {}
        for name in previous:
            if not self.is_local(name):
                groups.setdefault(group_of(name), []).append(name)
        weights = dict(previous)
        coverage: dict[str, Coverage] = {}
        for group, names in sorted(groups.items()):
            trained = {site: updates[site] for site in sorted(updates) if updates[site].samples.get(group, 0) > 0}
            coverage[group] = self.select(group, names, previous, trained) if trained else {}
            taking = {site: share for site, share in coverage[group].items() if share > 0}
            if taking:
                for name in names:
                    before = weights[name]
                    change = self.change(name, before, updates, taking)
                    stepped = name not in buffers and before.dtype.kind not in "biu"
                    weights[name] = moved(before, self.step(name, change) if stepped else change)
        return Aggregate(weights, coverage)

    def select(self, group: str, names: list[str], previous: Arrays, trained: Updates) -> Coverage:
        """The share of each site that trained a group; zeros if the rule cannot use them."""
        return shares({site: update.samples[group] for site, update in trained.items()})

    def change(self, name: str, previous: Array, updates: Updates, taking: Coverage) -> Floats:
        """A parameter's change from the sites that count, in double precision and the parameter's shape."""
        parts = ((updates[site].flat(name, previous), share) for site, share in taking.items())
        return weighted_sum(previous.shape, parts)

    def step(self, name: str, change: Floats) -> Floats:
        """What the server makes of a parameter's change; of a buffer's nothing but the change itself."""
        return change

    def state(self) -> Weights:
        """What the server must keep for an exact resume."""
        return {}

    def load_state(self, state: Weights) -> None:
        """Takes up a kept state.

        Raises:
            ValueError: if the state is another strategy's.
        """
        if state:
            raise ValueError(f"state: {next(iter(state))} belongs to another strategy than {type(self).__name__}")
