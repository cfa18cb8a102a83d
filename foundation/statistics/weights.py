"""Patient bootstrap that hospitals draw apart and pool together: Poisson weights from a keyed hash."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15  # splitmix64: Steele, Lea and Flood 2014
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_LARGEST = 20  # P(Poisson(1) > 20) is below 1e-19
_BLOCK = 1 << 22  # numbers drawn at a time


def poisson_weights(patients: Sequence[str], replicates: int, key: str) -> NDArray[np.int64]:
    """How often each patient counts in each replicate: `[1 + replicates, patients]`, row 0 all ones.

    Poisson(1) for sampling with replacement (Hanley & MacGibbon 2006): how often a patient is drawn does not depend on
    who else is there, so hospitals that weigh their own patients draw the pooled bootstrap's sample.

    Args:
        patients: ids.
        replicates: of the bootstrap.
        key: of the hash; the same one gives the same draws, whoever computes them and in whatever order.
    """
    blocks = [block for _, block in weight_blocks(patients, replicates, key)]
    return np.concatenate([np.ones((1, len(patients)), dtype=np.int64), *blocks])


def weight_blocks(
    patients: Sequence[str], replicates: int, key: str, size: int | None = None
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The replicates alone, `size` at a time: the first one's number (from 1) and `[size, patients]`.

    What does not fit in memory at once is evaluated block by block.
    """
    secret = hashlib.blake2b(key.encode(), digest_size=32).digest()
    seeds = [hashlib.blake2b(patient.encode(), digest_size=8, key=secret).digest() for patient in patients]
    state = np.frombuffer(b"".join(seeds), dtype="<u8").astype(np.uint64)
    chances = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(_LARGEST)])
    size = size or max(1, _BLOCK // max(1, len(patients)))
    for start in range(1, replicates + 1, size):
        numbers = np.arange(start, min(start + size, replicates + 1), dtype=np.uint64)
        uniform = (_mixed(state[None] + numbers[:, None] * np.uint64(_GOLDEN)) >> np.uint64(11)) * 2.0**-53
        yield start, np.searchsorted(chances, uniform, side="right").astype(np.int64)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX[0])
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX[1])
    return state ^ (state >> np.uint64(31))
