"""The similarity of sites' updates: cosines between them."""

from collections.abc import Mapping

import numpy as np

from foundation.federation.groups import group_of
from foundation.federation.weights.aggregation import add_scaled, norm_of
from foundation.federation.weights.update import SiteUpdate


def update_similarity(updates: Mapping[str, SiteUpdate], buffers: frozenset[str]) -> dict[str, float]:
    """By group, the mean cosine between the updates of the sites that trained it; 1 where all went the same way.

    Of n directions of unit length, the cosines of all pairs sum to half of what the squared length of their sum
    exceeds n by: so an array of one site after another is read, and memory does not grow with the sites. Statistics and
    counters, which move alike everywhere, are left out.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for update in updates.values() for name in update.difference):
        if name not in buffers:
            groups.setdefault(group_of(name), []).append(name)
    cosines = {}
    for group, members in groups.items():
        trained = {site: update for site, update in updates.items() if update.samples.get(group)}
        cosine = _mean_cosine(trained, members)
        if cosine is not None:
            cosines[group] = cosine
    return cosines


def _mean_cosine(updates: Mapping[str, SiteUpdate], names: list[str]) -> float | None:
    """Over all pairs of sites whose update of these parameters has a length; None if there is no pair."""
    lengths = {
        site: norm_of(update.difference[name] for name in names if name in update.difference)
        for site, update in updates.items()
    }
    lengths = {site: length for site, length in lengths.items() if length > 0}
    if len(lengths) < 2:
        return None
    square = 0.0
    for name in names:
        total = np.zeros(0)
        for site, length in lengths.items():
            if name in updates[site].difference:
                direction = updates[site].difference[name].reshape(-1)
                total = total if total.size else np.zeros(direction.size)
                add_scaled(total, direction, 1 / length)
        square += float(total @ total)
    return (square - len(lengths)) / (len(lengths) * (len(lengths) - 1))
