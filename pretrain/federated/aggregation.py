"""Aggregation by modality: a parameter group is averaged over the sites that trained it, by the samples that did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pretrain.fit import Weights

Samples = Mapping[str, int]


@dataclass
class Aggregate:
    """What a round's updates became.

    Attributes:
        weights: of the whole model.
        coverage: by group, the weight of each site's update in the mean; empty where nobody trained the group, which
            then keeps its value.
    """

    weights: Weights
    coverage: dict[str, dict[str, float]]


def group_of(parameter: str) -> str:
    """The parameter group of a name in the pretraining module's state.

    A modality's own embedding and norm inside fusion are taught by that modality alone, so they belong to it.
    """
    match parameter.split("."):
        case ["encoder", "modalities", modality, *_]:
            return modality
        case ["encoder", "fusion", "kind" | "norm", modality, *_]:
            return modality
        case ["encoder", "fusion", *_]:
            return "fusion"
        case ["objectives", objective, *_]:
            return f"objective:{objective}"
    raise ValueError(f"{parameter}: belongs to no parameter group")


def aggregate(previous: Weights, updates: Mapping[str, tuple[Weights, Samples]]) -> Aggregate:
    """Weighted mean by parameter group (FedAvg, McMahan et al. 2017, taken group by group).

    Args:
        previous: the weights that the round started from.
        updates: by site, its weights after the round and, by group, the samples that trained it there.
    """
    groups = sorted({group_of(name) for name in previous})
    coverage = {group: _shares(group, updates) for group in groups}
    weights = {
        name: _mean(value, [(updates[site][0][name], share) for site, share in coverage[group_of(name)].items()])
        for name, value in previous.items()
    }
    return Aggregate(weights, coverage)


def _shares(group: str, updates: Mapping[str, tuple[Weights, Samples]]) -> dict[str, float]:
    counts = {site: samples.get(group, 0) for site, (_, samples) in updates.items()}
    total = sum(counts.values())
    return {site: count / total for site, count in counts.items() if count > 0}


def _mean(previous: np.ndarray, parts: Sequence[tuple[np.ndarray, float]]) -> np.ndarray:
    if not parts:
        return previous
    if len(parts) == 1:
        return parts[0][0]
    total = sum(np.asarray(value, dtype=np.float64) * share for value, share in parts)
    mean = np.asarray(total, dtype=np.float64)
    rounded = mean.round() if np.issubdtype(previous.dtype, np.integer) else mean
    return np.asarray(rounded, dtype=previous.dtype)  # an array even of no dimension, as a checkpoint holds it
