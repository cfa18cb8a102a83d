"""Combination of experts' scores for any subset: what a missing expert would have said is estimated from the others.

Scores of the same patient are taken as jointly normal; a score that is missing is replaced by its expectation given
those that are there, so a subset's combination is linear in its scores, and that of a single one rises with it alone.
Mean and covariance come from all patients, whatever each has, by expectation maximisation (Little & Rubin 2002, ch.
11): each step is a sum over patients, which hospitals can add up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.experts.responses import Floats, Rows

Pattern = NDArray[np.bool_]

_ROUNDS = 50
_SHRINK = 0.05
_PAIRS = 200  # patients with both of two scores, for half of the covariance that they show to be believed


@dataclass(frozen=True, eq=False)
class Normal:
    """The joint distribution of experts' scores: `mean` `[experts]`, `covariance` `[experts, experts]`."""

    mean: Floats
    covariance: Floats

    @classmethod
    def of(cls, scores: Floats) -> "Normal":
        """That of patients, `[patients, experts]`, NaN where a patient has no such score; each has one at least."""
        known = ~np.isnan(scores)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, scores, 0.0).sum(axis=0) / count
        variance = np.where(known, (scores - mean) ** 2, 0.0).sum(axis=0) / count
        normal = cls(mean, np.diag(np.maximum(variance, 1e-9)))
        for _ in range(_ROUNDS):
            normal = normal._step(scores)
        return cls.believed(normal.mean, normal.covariance, known.T.astype(float) @ known.astype(float))

    @classmethod
    def believed(cls, mean: Floats, covariance: Floats, pairs: Floats) -> "Normal":
        """Of moments that are believed the more, the more patients have both scores: `pairs` `[experts, experts]`."""
        trust = pairs / (pairs + _PAIRS)
        np.fill_diagonal(trust, 1.0)
        covariance = covariance * trust
        lowest = np.linalg.eigvalsh(covariance)[0]
        return cls(mean, covariance + max(0.0, 1e-6 - lowest) * np.eye(len(covariance)))

    def _step(self, scores: Floats) -> "Normal":
        filled = self.fill(scores)
        rest = np.zeros_like(self.covariance)
        for pattern, rows in patterns(scores):
            missing = ~pattern
            if missing.any():
                slopes = self._slopes(pattern)
                inside = self.covariance[np.ix_(missing, missing)] - slopes @ self.covariance[np.ix_(pattern, missing)]
                rest[np.ix_(missing, missing)] += len(rows) * inside
        mean = filled.mean(axis=0)
        deviation = filled - mean
        covariance = (deviation.T @ deviation + rest) / len(scores)
        return Normal(mean, covariance + _SHRINK * np.diag(np.diagonal(covariance)))

    def fill(self, scores: Floats) -> Floats:
        """Scores with their expectation where they are missing, `[patients, experts]`."""
        filled = scores.copy()
        for pattern, rows in patterns(scores):
            matrix, shift = self.expectation(pattern)
            filled[rows] = np.nan_to_num(scores[rows]) @ matrix + shift
        return filled

    def expectation(self, pattern: Pattern) -> tuple[Floats, Floats]:
        """All scores from those that a pattern `[experts]` shows, as matrix and shift.

        Returns:
            `[experts, experts]`, with rows of zeros at what is missing, and `[experts]`.
        """
        matrix = np.diag(pattern.astype(float))
        shift = np.where(pattern, 0.0, self.mean)
        if pattern.any() and not pattern.all():
            slopes = self._slopes(pattern)
            matrix[np.ix_(pattern, ~pattern)] = slopes.T
            shift[~pattern] -= slopes @ self.mean[pattern]
        return matrix, shift

    def _slopes(self, pattern: Pattern) -> Floats:
        """Coefficients of the missing scores on those that are there, `[missing, present]`."""
        present = self.covariance[np.ix_(pattern, pattern)]
        across = self.covariance[np.ix_(~pattern, pattern)]
        return np.asarray(np.linalg.solve(present, across.T).T)


class Rule(NamedTuple):
    """A linear combination of scores: `weights` `[experts]`, zero at what is missing, and `shift`."""

    weights: Floats
    shift: float

    def apply(self, scores: Floats) -> Floats:
        """Of scores `[patients, experts]`."""
        return np.asarray(np.nan_to_num(scores) @ self.weights + self.shift)


def rule(normal: Normal, weights: Floats, shift: float, pattern: Pattern) -> Rule:
    """The combination of all scores, as a pattern's scores let expect it."""
    matrix, base = normal.expectation(pattern)
    return Rule(matrix @ weights, float(base @ weights + shift))


def patterns(scores: Floats) -> Iterator[tuple[Pattern, Rows]]:
    """Each subset of scores that somebody has, and the rows of those who have exactly it."""
    known = ~np.isnan(scores)
    unique, which = np.unique(known, axis=0, return_inverse=True)
    for index, pattern in enumerate(unique):
        yield pattern, np.flatnonzero(which.reshape(-1) == index)
