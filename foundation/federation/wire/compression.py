"""Updates as they travel: differences in fp32, bf16 or int8, with error feedback.

A narrow format loses something of each difference. With error feedback the loss stays at the site and is added to its
next difference, so that what the server sums over rounds is the true sum but for the last round's loss (Seide et al.
2014; Karimireddy et al. 2019).
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.groups import SPREADS
from foundation.federation.weights.lazy import Computed
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.quantization import pack_bf16, pack_int8, unpack_bf16, unpack_int8

Kind = Literal["fp32", "bf16", "int8"]
_KINDS = ("fp32", "bf16", "int8")
_SEPARATOR = ":"
_SMALL = 32  # elements up to which an array travels whole: there is nothing to gain


@dataclass
class Encoded:
    """A difference, ready to travel.

    Attributes:
        arrays: by parameter name, with `:bf16` or `:int8` behind the names of those that were narrowed.
        residual: what was lost, by parameter; for the site's next difference.
    """

    arrays: dict[str, NDArray[np.generic]]
    residual: dict[str, NDArray[np.float32]]


class Compressor:
    """Narrows differences and widens them again.

    Arrays of single precision are narrowed, all others (counters, small arrays) travel whole, and so do running
    variances, of which one near zero would be rounded to below it. Decoding reads what the names say, so a server
    decodes what any site of the federation sends.

    Args:
        kind: `fp32`, `bf16` (round to nearest even) or `int8` (a scale for each block of values).
        feedback: keep what is lost, for the next round.
        stochastic: round int8 up or down at random, without bias, instead of to the nearest.
        block: values that share a scale in int8.
    """

    def __init__(self, kind: Kind = "fp32", feedback: bool = True, stochastic: bool = False, block: int = 256) -> None:
        if kind not in _KINDS:
            raise UserError(f"compression.kind: found {kind!r}; choose from {', '.join(_KINDS)}")
        if block < 1:
            raise UserError(f"compression.block: found {block}; give 1 or more values a scale, such as 256")
        self.kind = kind
        self.feedback = feedback
        self.stochastic = stochastic
        self.block = block

    def encode(self, difference: Arrays, residual: Arrays | None = None, salt: str = "") -> Encoded:
        """A difference as it travels.

        Args:
            difference: by parameter, to the weights that the round started from.
            residual: what earlier rounds lost; parameters that do not travel now keep theirs.
            salt: makes stochastic rounding reproducible, and independent from site to site and round to round: name
                both in it.

        Raises:
            UserError: if a value to narrow is not finite.
        """
        kept = dict(residual or {}) if self.feedback else {}
        arrays: dict[str, NDArray[np.generic]] = {}
        for name, value in difference.items():
            small = value.dtype != np.float32 or value.size <= _SMALL
            if self.kind == "fp32" or small or name.endswith(SPREADS):
                arrays[name] = value
                continue
            wanted = np.asarray(value, dtype=np.float32)
            if name in kept:
                wanted = wanted + np.asarray(kept[name], dtype=np.float32)
            if not np.isfinite(wanted).all():
                raise UserError(f"{name}: the update is not finite, so {self.kind} cannot hold it; train more slowly")
            packed = self._pack(wanted, f"{salt}/{name}")
            arrays[f"{name}{_SEPARATOR}{self.kind}"] = packed
            if self.feedback:
                kept[name] = wanted - np.asarray(_unpack(packed, self.kind), dtype=np.float32)
        return Encoded(arrays, {name: np.asarray(value, dtype=np.float32) for name, value in kept.items()})

    @staticmethod
    def decode(arrays: Arrays) -> Arrays:
        """The differences that travelled; each is widened when it is asked for.

        Raises:
            UserError: here, if a name is not one that `encode` makes; on reading, if an array is not.
        """
        keys: dict[str, str] = {}
        for key in arrays:
            name, _, kind = key.partition(_SEPARATOR)
            if kind not in ("", "bf16", "int8") or name in keys:
                raise UserError(f"{key}: no name that compression gives, or the second of its kind; use one release")
            keys[name] = key
        return Computed(keys, lambda name: _widened(arrays, keys[name]))

    def _pack(self, value: NDArray[np.float32], salt: str) -> NDArray[np.generic]:
        if self.kind == "bf16":
            return pack_bf16(value)
        seed = int.from_bytes(hashlib.sha256(salt.encode()).digest(), "big")
        return pack_int8(value, self.block, np.random.default_rng(seed) if self.stochastic else None)


def _widened(arrays: Arrays, key: str) -> NDArray[np.generic]:
    try:
        return _unpack(arrays[key], key.partition(_SEPARATOR)[2])
    except ValueError as error:
        raise UserError(f"{key}: not readable ({error}); the site must encode with this release") from error


def _unpack(packed: NDArray[np.generic], kind: str) -> NDArray[np.generic]:
    if kind == "bf16":
        return unpack_bf16(packed)
    return unpack_int8(packed) if kind == "int8" else packed
