"""Whether sites pull the same way: cosines between their updates."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from foundation.federation.groups import group_of
from foundation.federation.server.updates import Received

_SLICE = 1 << 20  # elements that are held in double precision beside a sum


def update_similarity(updates: Mapping[str, Received], buffers: frozenset[str]) -> dict[str, float]:
    """By group, the mean cosine between the updates of the sites that trained it; 1 where all went the same way.

    Of n directions of unit length, the cosines of all pairs sum to half of what the squared length of their sum
    exceeds n by: so an array of one site after another is read, and memory does not grow with the sites. Statistics and
    counters, which move alike everywhere, are left out.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for update in updates.values() for name in update.difference):
        if name not in buffers:
            groups.setdefault(group_of(name), []).append(name)
    found = {}
    for group, members in groups.items():
        taught = {site: update for site, update in updates.items() if update.samples.get(group)}
        cosine = _mean_cosine(taught, members)
        if cosine is not None:
            found[group] = cosine
    return found


def _mean_cosine(updates: Mapping[str, Received], names: list[str]) -> float | None:
    """Over all pairs of sites whose update of these parameters has a length; None if there is no pair."""
    lengths = {site: _length(update, names) for site, update in updates.items()}
    moved = {site: length for site, length in lengths.items() if length > 0}
    if len(moved) < 2:
        return None
    square = 0.0
    for name in names:
        total = np.zeros(0)
        for site, length in moved.items():
            if name in updates[site].difference:
                total = _add(total, updates[site].difference[name], 1 / length)
        square += float(total @ total)
    return (square - len(moved)) / (len(moved) * (len(moved) - 1))


def _length(update: Received, names: list[str]) -> float:
    square = 0.0
    for name in (name for name in names if name in update.difference):
        flat = update.difference[name].reshape(-1)
        for start in range(0, flat.size, _SLICE):
            part = flat[start : start + _SLICE].astype(np.float64)
            square += float(part @ part)
    return math.sqrt(square)


def _add(total: NDArray[np.float64], value: NDArray[np.generic], scale: float) -> NDArray[np.float64]:
    flat = value.reshape(-1)
    if not total.size:
        total = np.zeros(flat.size)
    for start in range(0, flat.size, _SLICE):
        total[start : start + _SLICE] += flat[start : start + _SLICE].astype(np.float64) * scale
    return total
