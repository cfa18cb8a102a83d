"""Gaussian noise that nobody can draw again."""

import hashlib
import secrets
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Secret = Callable[[], int]

_BITS = 256
_SLICE = 1 << 20  # numbers that are drawn at a time


def fresh_secret() -> int:
    """From the operating system's cryptographic source; kept nowhere."""
    return secrets.randbits(_BITS)


class Noise:
    """The noise of one release.

    A name's noise is fixed within a release, because two draws on one sum would halve their variance.

    Args:
        secret: of this release, and of no other.
    """

    def __init__(self, secret: int) -> None:
        self._secret = secret

    def add(self, name: str, values: NDArray[np.float64], deviation: float) -> None:
        """Adds noise of a standard deviation to flat values, in place."""
        words = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
        generator = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence([self._secret, words])))
        for start in range(0, values.size, _SLICE):
            part = values[start : start + _SLICE]
            part += deviation * generator.standard_normal(part.size)

    def of(self, name: str, deviation: float) -> float:
        """One number."""
        number = np.zeros(1)
        self.add(name, number, deviation)
        return float(number[0])
