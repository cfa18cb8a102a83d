"""Aggregation by modality: a parameter group is averaged over the sites that trained it, by the samples that did."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from foundation.federation.groups import group_of
from foundation.federation.weights.types import Weights

Samples = Mapping[str, int]

_SLICE = 1 << 20  # elements: what is held in double precision beside an array and its sum


@dataclass
class Aggregate:
    """What a round's updates became.

    Attributes:
        weights: of the whole model.
        coverage: by group, the weight of each site's update in the result; empty where nobody trained the group, zeros
            where a rule used none of those who did. In both cases the group keeps its value.
    """

    weights: Weights
    coverage: dict[str, dict[str, float]]


def aggregate(previous: Weights, updates: Mapping[str, tuple[Weights, Samples]]) -> Aggregate:
    """Weighted mean by parameter group (FedAvg, McMahan et al. 2017, taken group by group).

    Args:
        previous: the weights that the round started from.
        updates: by site, its weights after the round and, by group, the samples that trained it there.
    """
    groups = sorted({group_of(name) for name in previous})
    coverage = {group: shares({site: given.get(group, 0) for site, (_, given) in updates.items()}) for group in groups}
    weights = {
        name: mean(value, ((updates[site][0][name], share) for site, share in coverage[group_of(name)].items()))
        for name, value in previous.items()
    }
    return Aggregate(weights, coverage)


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Each site's part of all samples, in the sites' alphabetical order, so that sums reproduce."""
    total = sum(counts.values())
    return {site: counts[site] / total for site in sorted(counts) if counts[site] > 0}


def mean(previous: np.ndarray, parts: Iterable[tuple[np.ndarray, float]]) -> np.ndarray:
    """Weighted mean of the sites' arrays, summed in double precision in the order given, one site at a time.

    Args:
        previous: gives type and shape, and is the result where there are no parts.
        parts: arrays with their shares, which sum to 1; read one after another, so that a caller may load each then.
    """
    total = np.zeros(previous.size)
    only: np.ndarray | None = None
    seen = 0
    for value, share in parts:
        only, seen = value, seen + 1
        flat = np.asarray(value).reshape(-1)
        for start in range(0, total.size, _SLICE):
            total[start : start + _SLICE] += flat[start : start + _SLICE].astype(np.float64) * share
    if not seen:
        return previous
    if seen == 1 and only is not None:
        return only  # exactly: no rounding on the way
    return as_type_of(previous, total)


def as_type_of(previous: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values in the type and shape of an array of the model, rounded where that counts in whole numbers."""
    found = np.rint(values) if previous.dtype.kind in "biu" else values
    # An array even of no dimension, as a checkpoint holds it.
    return np.asarray(found, dtype=previous.dtype).reshape(previous.shape)
