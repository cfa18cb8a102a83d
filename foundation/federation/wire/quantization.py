"""Single precision in two bytes or in one: the arithmetic and the layout, without names or rounds."""

import math

import numpy as np
from numpy.typing import NDArray

_LARGEST = 127  # of a code, either way: symmetric, so that zero stays zero
_WORD = 4  # bytes
_DIMENSIONS = 8  # at most; a header that claims more is no header


def pack_bf16(value: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of the bits, rounded to nearest even; numbers must be finite. Shape stays."""
    bits = np.ascontiguousarray(value, dtype=np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # Beyond the largest number stands infinity; the largest one is nearer to what was meant.
    largest = (bits & np.uint32(0x80000000)) | np.uint32(0x7F7F0000)
    bounded = np.where((rounded & np.uint32(0x7F800000)) == 0x7F800000, largest, rounded)
    return (bounded >> np.uint32(16)).astype(np.uint16).reshape(np.shape(value))


def unpack_bf16(packed: NDArray[np.generic]) -> NDArray[np.float32]:
    """The way back, exactly.

    Raises:
        ValueError: if the array holds no 16-bit words.
    """
    if packed.dtype != np.uint16:
        raise ValueError(f"it holds {packed.dtype}, not uint16")
    words = np.atleast_1d(packed).astype(np.uint32) << np.uint32(16)
    return words.view(np.float32).reshape(packed.shape)


def pack_int8(value: NDArray[np.float32], block: int, generator: np.random.Generator | None) -> NDArray[np.uint8]:
    """Codes from -127 to 127 with a scale for each block of consecutive values, in one array of bytes.

    Layout, little-endian: int32 block, int32 number of dimensions, int32 each dimension, float32 each scale, int8 each
    code. One array a parameter keeps the number of objects in a message as it is without compression.

    Args:
        value: finite numbers of any shape.
        block: values that share a scale.
        generator: rounds up or down at random without bias; to the nearest if None. The error is at most half a scale
            to the nearest and one scale at random.
    """
    block = min(block, max(1, value.size))  # a larger one would be filled up with zeros
    flat = np.zeros(math.ceil(value.size / block) * block, dtype=np.float32)
    flat[: value.size] = np.ravel(value)
    blocks = flat.reshape(-1, block)
    scales = (np.abs(blocks).max(axis=1) / np.float32(_LARGEST)).astype("<f4")
    # Numbers so small that their scale is zero become zero; error feedback keeps them.
    blocks /= np.where(scales > 0, scales, np.float32(np.inf))[:, None]
    if generator is None:
        codes = np.rint(blocks)
    else:
        codes = np.floor(blocks + generator.random(blocks.shape, dtype=np.float32))
    codes = np.clip(codes, -_LARGEST, _LARGEST).astype(np.int8).reshape(-1)[: value.size]
    header = np.array([block, value.ndim, *value.shape], dtype="<i4")
    return np.concatenate([part.view(np.uint8) for part in (header, scales, codes)])


def unpack_int8(packed: NDArray[np.generic]) -> NDArray[np.float32]:
    """The way back.

    Raises:
        ValueError: if the array's layout is another one.
    """
    if packed.dtype != np.uint8 or packed.ndim != 1 or packed.size < 2 * _WORD:
        raise ValueError(f"it holds {packed.dtype} of shape {packed.shape}, not bytes with a header")
    data = np.ascontiguousarray(packed)
    block, dimensions = (int(word) for word in data[: 2 * _WORD].view("<i4"))
    start = (2 + dimensions) * _WORD
    if block < 1 or not 0 <= dimensions <= _DIMENSIONS or data.size < start:
        raise ValueError("its header is none")
    shape = tuple(int(word) for word in data[2 * _WORD : start].view("<i4"))
    size = math.prod(shape)
    count = math.ceil(size / block)
    if min(shape, default=0) < 0 or data.size != start + count * _WORD + size:
        raise ValueError(f"its length is not that of a block code of shape {shape}")
    scales = data[start : start + count * _WORD].copy().view("<f4")
    values = data[start + count * _WORD :].view(np.int8).astype(np.float32)
    whole = size // block * block
    values[:whole].reshape(-1, block)[:] *= scales[: whole // block, None]
    if whole < size:
        values[whole:] *= scales[-1]
    return values.reshape(shape)
