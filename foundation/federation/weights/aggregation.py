"""Means of sites' differences, and how a mean is added to the weights that the round started from."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.federation.weights.types import Weights

Floats = NDArray[np.float64]

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


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Each site's part of all samples, in the sites' alphabetical order, so that sums reproduce."""
    total = sum(counts.values())
    return {site: counts[site] / total for site in sorted(counts) if counts[site] > 0}


def weighted_sum(shape: tuple[int, ...], parts: Iterable[tuple[NDArray[np.generic], float]]) -> Floats:
    """Flat arrays times their weights, summed in double precision in the order given, one site at a time.

    Args:
        shape: of the result.
        parts: arrays and weights, read one after another, so that a caller may load each then.
    """
    total = np.zeros(shape)
    flat = total.reshape(-1)
    for value, weight in parts:
        add_scaled(flat, value, weight)
    return total


def add_scaled(total: Floats, value: NDArray[np.generic], weight: float) -> None:
    """Adds a flat array times a weight to another, in place."""
    for start in range(0, total.size, _SLICE):
        total[start : start + _SLICE] += value[start : start + _SLICE].astype(np.float64) * weight


def moved(previous: NDArray[np.generic], change: Floats) -> NDArray[np.generic]:
    """A parameter after a change, in its own type and shape, rounded where it counts in whole numbers.

    A change that one site made in single precision gives that site's weights bit for bit: double precision has more
    than twice the digits, so that rounding its sum is the same as rounding the exact one.

    Args:
        previous: the parameter.
        change: to it, in its shape; overwritten.
    """
    flat = change.reshape(-1)
    add_scaled(flat, previous.reshape(-1), 1.0)
    if previous.dtype.kind in "biu":
        np.rint(flat, out=flat)
    # An array even of no dimension, as a checkpoint holds it.
    return np.asarray(flat, dtype=previous.dtype).reshape(previous.shape)


def norm_of(arrays: Iterable[NDArray[np.generic]]) -> float:
    """L2 norm over all arrays, in double precision, which squares of single precision cannot overflow."""
    square = 0.0
    for value in arrays:
        flat = np.ravel(value)
        for start in range(0, flat.size, _SLICE):
            part = flat[start : start + _SLICE].astype(np.float64)
            square += float(part @ part)
    return math.sqrt(square)
