"""Numbers as whole ones for masks: what secure aggregation sums is exact, to the last of forty binary places.

A number is split into four parts of twenty bits: two of its whole part, two of what is behind the point. Masks carry
differences of whole numbers up to a declared range; sums of parts over any number of sites that masks allow stay exact,
and the parts of a total are put together again in double precision.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.sums.contract import Numbers, Shapes
from foundation.federation.weights.types import Weights

GROUP = "sums"  # parameter group of all arrays, by the beginning of their names
RANGE = 2.0**20
_BITS = 20
_PARTS = 4
_LARGEST = 2.0**38


def parts_before(shapes: Shapes) -> Weights:
    """What masked sums are differences to: zeros, of whole numbers, `[parts, ...]` each."""
    return {name: np.zeros((_PARTS, *shape), dtype=np.int64) for name, shape in shapes.items()}


def to_parts(arrays: Mapping[str, NDArray[Any]]) -> Weights:
    """Arrays of numbers as arrays of whole numbers within the range, `[parts, ...]` each.

    Raises:
        UserError: if a number is none, or too large.
    """
    parts: Weights = {}
    for name, values in arrays.items():
        numbers = np.asarray(values, dtype=np.float64)
        if not (np.isfinite(numbers).all() and (np.abs(numbers) < _LARGEST).all()):
            raise UserError(f"sums: {name} holds a number that is not finite, or beyond {_LARGEST:.0f}; masks cannot")
        whole = np.floor(numbers)
        behind = np.rint((numbers - whole) * 2.0 ** (2 * _BITS)).astype(np.int64)
        high, low = np.divmod(whole.astype(np.int64), 1 << _BITS)
        first, second = np.divmod(behind, 1 << _BITS)  # one more than the range where rounding reaches one whole
        parts[name] = np.stack([high, low, first, second])
    return parts


def from_parts(parts: Mapping[str, NDArray[Any]]) -> Numbers:
    """The way back, from sums of parts."""
    numbers: Numbers = {}
    for name, values in parts.items():
        high, low, first, second = np.rint(np.asarray(values, dtype=np.float64))
        whole = high * 2.0**_BITS + low  # by itself: beside it, what is behind the point would lose its last places
        numbers[name] = np.asarray(whole + (first * 2.0**-_BITS + second * 2.0 ** (-2 * _BITS)))
    return numbers
