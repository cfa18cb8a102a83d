"""Counts, means and squared deviations that pool exactly, whoever holds the values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Of values a column, in double precision; where `count` is 0, mean and m2 are 0.

    Attributes:
        count: of known values, `[columns]`.
        mean: of them, `[columns]`.
        m2: sum of squared deviations from the mean, `[columns]`.
    """

    count: Array
    mean: Array
    m2: Array

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> "Moments":
        """Of `[rows, columns]`, NaN where not known."""
        wide = np.asarray(values, dtype=np.float64)
        known = ~np.isnan(wide)
        count = known.sum(axis=0).astype(np.float64)
        mean = np.where(known, wide, 0).sum(axis=0) / np.maximum(count, 1)
        return cls(count, mean, (np.where(known, wide - mean, 0) ** 2).sum(axis=0))

    def merge(self, other: "Moments") -> "Moments":
        """Of both together (Chan et al. 1979), as if the values had been in one place."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        step = other.mean - self.mean
        return Moments(count, self.mean + step * share, self.m2 + other.m2 + step**2 * self.count * share)


@dataclass(frozen=True)
class Spread:
    """The same of vectors, with how their parts vary together.

    Attributes:
        count: of vectors.
        mean: `[parts]`.
        m2: sum of outer products of the deviations, `[parts, parts]`.
    """

    count: float
    mean: Array
    m2: Array

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> "Spread":
        """Of `[rows, parts]`, all known."""
        wide = np.asarray(values, dtype=np.float64)
        mean = wide.mean(axis=0) if len(wide) else np.zeros(wide.shape[1])
        return cls(float(len(wide)), mean, (wide - mean).T @ (wide - mean))

    def merge(self, other: "Spread") -> "Spread":
        """Of both together."""
        count = self.count + other.count
        share = other.count / max(count, 1.0)
        step = other.mean - self.mean
        m2 = self.m2 + other.m2 + np.outer(step, step) * self.count * share
        return Spread(count, self.mean + step * share, m2)
