"""Tests of many candidates against labels permuted within hospitals, and how many false discoveries to expect.

The model is fixed before, on other patients: only the labels of patients whom it has not seen are permuted, so nothing
has to be fitted anew and every permutation is as likely as the labels that were observed where a candidate tells
nothing of them at any hospital. Permuting within hospitals keeps what hospitals differ in, measurements and outcomes
alike: a candidate that only tells the hospital is no discovery (Good 2005, ch. 3).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from foundation.statistics.table import Floats, Integers

_AT_ONCE = 500  # permutations drawn together
_RETRIED = 200  # permutations to which the whole procedure is applied
_TIE = 1e-5  # below which two z are the same, in single precision


@dataclass(frozen=True)
class Tested:
    """One-sided tests of candidates, `[candidates]` each; NaN for one that does not vary within any hospital.

    Attributes:
        z: the candidate's sum with the residuals in units of its spread over permutations.
        p: share of permutations in which it is as large, the labels as observed among them.
        adjusted: share in which any candidate's is (maxT; Westfall & Young 1993, ch. 2): no false one with that chance.
        q: smallest rate of false discoveries at which it is one (Benjamini & Hochberg 1995).
        permuted: p of some permuted labels, as if they had been observed: `[permuted, tested candidates]`.
    """

    z: Floats
    p: Floats
    adjusted: Floats
    q: Floats
    permuted: Floats

    def discoveries(self, level: float) -> NDArray[np.bool_]:
        """Which candidates are discoveries at a rate of false ones, `[candidates]`."""
        return np.nan_to_num(self.q, nan=1.0) <= level

    def false_alarms(self, level: float) -> Integers:
        """How many discoveries each of some permuted labels would have given: `[permuted]`."""
        if not self.permuted.size:
            return np.zeros(len(self.permuted), dtype=np.int64)
        q = false_discovery_control(self.permuted, axis=1)
        return np.asarray((q <= level).sum(axis=1), dtype=np.int64)


def permutation_test(
    values: Floats, residual: Floats, strata: Sequence[str] | NDArray[np.str_], permutations: int, seed: int
) -> Tested:
    """Tests whether candidates go up with an outcome.

    Args:
        values: of candidates, in the direction to be tested, `[patients, candidates]`; NaN where not measured.
        residual: of the outcome, `[patients]`: a label, a quantity, or a martingale residual, whose sum with a
            covariate is the score of Cox's model at no effect.
        strata: within which labels are exchanged, `[patients]`.
        permutations: drawn.
        seed: of them.
    """
    groups = _groups(strata)
    centred, squares = _centred(values, groups)
    spread = np.sqrt(_variance(squares, _centred(residual[:, None], groups)[1], groups))
    tested = np.flatnonzero(spread > _TIE)
    scaled = centred[:, tested] / spread[tested]
    null = (
        (residual[drawn] @ scaled).astype(np.float32) for drawn in _permuted(len(residual), groups, permutations, seed)
    )
    return _judged(residual @ scaled, null, tested, values.shape[1])


def correlation_test(
    measured: Floats, predicted: Floats, strata: Sequence[str] | NDArray[np.str_], permutations: int, seed: int
) -> tuple[Tested, Floats]:
    """Tests whether each measurement goes up with its own prediction, patients' predictions exchanged within hospitals.

    All predictions of a patient move together, so that what genes have in common stays.

    Args:
        measured: `[patients, candidates]`, NaN where not measured.
        predicted: by a model of other patients, `[patients, candidates]`.
        strata: see `permutation_test`, as for the others.
        permutations: drawn.
        seed: of them.

    Returns:
        The tests, and correlations within hospitals, `[candidates]`.
    """
    groups = _groups(strata)
    known = ~np.isnan(measured)
    first, ours = _centred(measured, groups)
    second, theirs = _centred(predicted, groups)
    shown = np.where(known, second, 0.0)
    scale = np.sqrt((first**2).sum(axis=0) * (shown**2).sum(axis=0))
    correlation = np.divide((first * second).sum(axis=0), scale, out=np.full(len(scale), np.nan), where=scale > _TIE)
    spread = np.sqrt(_variance(ours, theirs, groups))
    tested = np.flatnonzero(spread > _TIE)
    left, right = (first[:, tested] / spread[tested]).astype(np.float32), second[:, tested].astype(np.float32)
    null = (
        np.stack([np.einsum("pc,pc->c", left, right[order]) for order in drawn])
        for drawn in _permuted(len(first), groups, permutations, seed)
    )
    z = (first[:, tested] * second[:, tested]).sum(axis=0) / spread[tested]
    return _judged(z, null, tested, measured.shape[1]), correlation


def _judged(z: Floats, null: Iterable[NDArray[np.float32]], tested: NDArray[np.intp], size: int) -> Tested:
    """Tests of the candidates at some places, from their z as observed and permuted.

    Args:
        z: as observed, `[tested]`.
        null: of permutations, `[some, tested]` at a time, of which no more than one is held.
        tested: places of the candidates.
        size: of all candidates.
    """
    count, as_large, largest = 0, np.zeros(len(z)), []
    again = np.zeros((0, len(z)), dtype=np.float32)
    again_as_large = np.zeros(again.shape)
    for block in null:
        if not count:
            again, again_as_large = block[:_RETRIED].copy(), np.zeros(block[:_RETRIED].shape)
        count += len(block)
        largest.append(block.max(axis=1, initial=-np.inf))
        block.sort(axis=0)
        as_large += _at_least(block, z[None])[0]
        again_as_large += _at_least(block, again)
    p = (1 + as_large) / (1 + count)
    below = np.searchsorted(np.sort(np.concatenate(largest)), z - _TIE)
    adjusted = (1 + count - below) / (1 + count)
    q = false_discovery_control(p) if len(p) else p
    z, p, adjusted, q = (_spread(part, tested, size) for part in (z, p, adjusted, q))
    return Tested(z, p, adjusted, q, again_as_large / count)


def _at_least(null: NDArray[np.float32], z: NDArray[np.floating]) -> Floats:
    """How many of the sorted permutations `[permutations, candidates]` are as large as each of `[rows, candidates]`."""
    counts = np.empty(z.shape)
    for place, column in enumerate(null.T):
        counts[:, place] = len(column) - np.searchsorted(column, z[:, place] - _TIE)
    return counts


def _groups(strata: Sequence[str] | NDArray[np.str_]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(np.asarray(strata) == name) for name in np.unique(np.asarray(strata))]


def _centred(values: Floats, groups: list[NDArray[np.intp]]) -> tuple[Floats, Floats]:
    """Values less their stratum's mean, zero where missing, and sums of their squares, `[strata, candidates]`."""
    centred = np.zeros(values.shape)
    for rows in groups:
        part = values[rows]
        known = ~np.isnan(part)
        mean = np.where(known, part, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        centred[rows] = np.where(known, part - mean, 0.0)
    return centred, np.stack([(centred[rows] ** 2).sum(axis=0) for rows in groups])


def _variance(first: Floats, second: Floats, groups: list[NDArray[np.intp]]) -> Floats:
    """Of a sum of products over permutations within strata, from sums of squares: `[candidates]` (Hoeffding 1951)."""
    sizes = np.array([len(rows) for rows in groups])
    several = sizes > 1
    variance: Floats = (first[several] * second[several] / (sizes[several, None] - 1)).sum(axis=0)
    return variance


def _permuted(
    patients: int, groups: list[NDArray[np.intp]], permutations: int, seed: int
) -> Iterator[NDArray[np.intp]]:
    """Who takes whose place within strata, `[some permutations, patients]` at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, permutations, _AT_ONCE):
        drawn = np.tile(np.arange(patients), (min(_AT_ONCE, permutations - start), 1))
        for rows in groups:
            drawn[:, rows] = rng.permuted(drawn[:, rows], axis=1)
        yield drawn


def _spread(values: Floats, places: NDArray[np.intp], size: int) -> Floats:
    whole = np.full(size, np.nan)
    whole[places] = values
    return whole
