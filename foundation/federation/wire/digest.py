"""Digests and lengths of the arrays that travel."""

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.federation.weights.types import Arrays


class WeightsDigest:
    """SHA-256 over names, types, shapes and values, for arrays that come one at a time, in whatever order.

    Args:
        arrays: to begin with.

    Attributes:
        bytes: of the values so far.
    """

    def __init__(self, arrays: Arrays | None = None) -> None:
        self._lines: dict[str, str] = {}
        self.bytes = 0
        for name, value in (arrays or {}).items():
            self.update(name, value)

    def update(self, name: str, value: NDArray[Any]) -> None:
        """Takes in one array; each name once."""
        if name in self._lines:
            raise ValueError(f"{name}: added twice")
        array = np.asarray(value)
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)  # the same on every machine
        values = hashlib.sha256(little.reshape(-1).view(np.uint8).data)
        self._lines[name] = json.dumps([name, array.dtype.name, list(array.shape), values.hexdigest()])
        self.bytes += array.nbytes

    def hexdigest(self) -> str:
        """Of all arrays so far, by name."""
        return hashlib.sha256("\n".join(self._lines[name] for name in sorted(self._lines)).encode()).hexdigest()


def digest_of_weights(weights: Arrays) -> str:
    """SHA-256 over names, types, shapes and values; the order of the names does not matter."""
    return WeightsDigest(weights).hexdigest()
