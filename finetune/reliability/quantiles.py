"""Order statistics by counting: hospitals add up how many of their values lie at or below an edge, and tell no value.

Bisection over the keys of single-precision numbers, in their order, ends at the value itself after 32 counts, all cells
at once. MAPIE and crepes want every score in one place, and a fitted model as a pickle; a threshold needs neither.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
_SIGN = np.uint32(1 << 31)
_LOWEST, _HIGHEST = np.float32(-np.inf), np.float32(np.inf)


def order_statistics(count_at_most: Callable[[Floats], Integers], ranks: Integers) -> Floats:
    """By cell, the value of a rank among all values, 1 the smallest; infinite where there are fewer values.

    Args:
        count_at_most: by cell, how many values are at most an edge, for edges of any shape `[cells]`.
        ranks: from 1 on, `[cells]`.
    """
    low, high = (np.full(ranks.shape, _key(edge), dtype=np.int64) for edge in (_LOWEST, _HIGHEST))
    while (low < high).any():
        middle = (low + high) // 2
        enough = count_at_most(_value(middle)) >= ranks
        high = np.where(enough & (low < high), middle, high)
        low = np.where(~enough & (low < high), middle + 1, low)
    return _value(high)


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
