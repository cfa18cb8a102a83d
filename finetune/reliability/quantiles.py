"""Order statistics by counting: hospitals add up how many of their values lie at or below an edge, and tell no value.

Bisection over the keys of single-precision numbers, in their order, ends at the value itself after 32 counts, all cells
at once; after four or five where 255 edges of a cell are asked for together. MAPIE and crepes want every score in one
place, and a fitted model as a pickle; a threshold needs neither.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
_SIGN = np.uint32(1 << 31)
_LOWEST, _HIGHEST = np.float32(-np.inf), np.float32(np.inf)


def order_statistics(count_at_most: Callable[[Floats], Integers], ranks: Integers, at_once: int = 1) -> Floats:
    """By cell, the value of a rank among all values, 1 the smallest; infinite where there are fewer values.

    Args:
        count_at_most: by cell, how many values are at most an edge, for edges `[at_once, *cells]`.
        ranks: from 1 on, `[*cells]`.
        at_once: edges of a cell that are asked for together.
    """
    low, high = (np.full(ranks.shape, _key(edge), dtype=np.int64) for edge in (_LOWEST, _HIGHEST))
    steps = np.arange(1, at_once + 1).reshape(-1, *[1] * ranks.ndim)
    while (low < high).any():
        middle = low + (high - low) * steps // (at_once + 1)
        enough = count_at_most(_value(middle)) >= ranks
        open_still = low < high
        least, most = np.where(enough, middle, high).min(axis=0), np.where(enough, low, middle + 1).max(axis=0)
        low, high = np.where(open_still, most, low), np.where(open_still, least, high)
    return _value(high)


def counts_at_most(cells: Sequence[NDArray[Any]], edges: NDArray[Any]) -> Integers:
    """Of each cell's values, in single precision, how many are at most each of its edges.

    Args:
        cells: values each, NaN where there is none.
        edges: `[at_once, cells]`.
    """
    counted = np.zeros(edges.shape, dtype=np.int64)
    for place, values in enumerate(cells):
        known = np.sort(values[~np.isnan(values)].astype(np.float32))
        counted[:, place] = np.searchsorted(known, edges[:, place].astype(np.float32), side="right")
    return counted


def conformal_rank(patients: Integers, coverage: float) -> Integers:
    """Rank of the threshold under which a further patient's nonconformity lies with at least this chance."""
    return np.asarray(np.maximum(np.ceil((patients + 1) * coverage - 1e-9), 1), dtype=np.int64)


def _key(value: np.float32) -> int:
    """A number's place among all single-precision numbers."""
    bits = np.asarray(value, dtype=np.float32).view(np.uint32)
    return int(~bits if bits & _SIGN else bits | _SIGN)


def _value(keys: Integers) -> Floats:
    """The way back."""
    bits = keys.astype(np.uint32)
    return np.where(bits & _SIGN, bits & ~_SIGN, ~bits).astype(np.uint32).view(np.float32)
