"""Perceptual hashes, by which near-identical images are paired."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_BITS = 64
_RISE = 2.0  # grey levels; less is noise, of which a copy saved anew has another
_FEWEST = 8  # rises; pictures of glass or black ground with fewer are all alike
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def difference_hash(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Difference hash (dHash; Krawetz 2013): where brightness rises from left to right on an 8 by 9 grid of means.

    Args:
        images: `[images, height, width, 3]`, at least 8 by 9 pixels.

    Returns:
        `[images]`; 0 for a picture with too little structure to be told from others.
    """
    rises = np.diff(grey_means(images, 8, 9), axis=-1) > _RISE
    bits = np.packbits(rises.reshape(len(images), _BITS), axis=1, bitorder="little")
    hashes = bits.view("<u8")[:, 0].astype(np.uint64)
    return np.where(np.bitwise_count(hashes) < _FEWEST, np.uint64(0), hashes)


def grey_means(pictures: NDArray[np.uint8], *parts: int) -> NDArray[np.floating]:
    """Mean brightness in a grid of that many rows and columns, `[..., rows, columns]` of `[..., height, width, 3]`."""
    grey = pictures @ _LUMA
    rows, columns = (
        np.linspace(0, side, count + 1).astype(int) for side, count in zip(grey.shape[-2:], parts, strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=-2), columns[:-1], axis=-1)
    return np.asarray(sums / np.outer(np.diff(rows), np.diff(columns)))


def near_identical(hashes: NDArray[np.uint64], owners: NDArray[np.generic], distance: int = 4) -> NDArray[np.int64]:
    """All pairs of images of different owners whose hashes differ in at most `distance` bits.

    Multi-index hashing (Norouzi et al. 2012): of `distance` + 1 pieces of two such hashes one piece is equal, so only
    hashes that share a piece are compared. Exact, as comparing all pairs would be.

    Args:
        hashes: `[images]`; 0 stands for a picture without structure and is never reported.
        owners: `[images]`, the patient of each.
        distance: largest number of bits that differ.

    Returns:
        `[pairs, 2]` indices, the smaller one first, sorted; an owner's images of one hash stand once, by the first.
    """
    _, owner = np.unique(owners, return_inverse=True)
    keys = np.stack([hashes, owner.astype(np.uint64)], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    index = np.sort(first[hashes[first] != 0])
    hashes, owner = hashes[index], owner[index]
    edges = np.linspace(0, _BITS, distance + 2).astype(int)
    parts = [_sharing(hashes, owner, distance, start, end) for start, end in pairwise(edges.tolist())]
    pairs = np.unique(np.concatenate(parts), axis=0)
    return index[pairs].astype(np.int64)


def _sharing(
    hashes: NDArray[np.uint64], owner: NDArray[np.intp], distance: int, start: int, end: int
) -> NDArray[np.int64]:
    """The pairs wanted among those whose bits from `start` to `end` are equal."""
    piece = (hashes >> np.uint64(start)) & np.uint64((1 << (end - start)) - 1)
    order = np.argsort(piece, kind="stable")
    ends = np.searchsorted(piece[order], piece[order], side="right")
    pairs = [np.empty((0, 2), np.int64)]
    left = np.arange(len(order))
    step = 1
    while len(left := left[left + step < ends[left]]):  # everyone's next neighbour but `step` in the same bucket
        a, b = order[left], order[left + step]
        near = (np.bitwise_count(hashes[a] ^ hashes[b]) <= distance) & (owner[a] != owner[b])
        pairs.append(np.stack([np.minimum(a[near], b[near]), np.maximum(a[near], b[near])], axis=1))
        step += 1
    return np.concatenate(pairs)
