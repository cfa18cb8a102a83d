"""Many arrays as a few objects of a message: Flower carries every object by a request of its own, on every hop."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray
from safetensors.numpy import save

from foundation.errors import UserError
from foundation.federation.weights.lazy import LENGTH, TYPES

_FORMAT = "safetensors"
_HEADER = 4 << 20  # bytes at most: ten times what a large encoder takes; each entry becomes a Python object
_PART = 16 << 20  # bytes of arrays in an object; Flower copies an object as a whole, once or twice at a time


def to_record(arrays: Mapping[str, NDArray[np.generic]]) -> ArrayRecord:
    """Arrays of any shapes, in parts that are each laid out as a safetensors file is; an empty record without any.

    Arrays are read one after another, and no more than a part of them is in memory twice.
    """
    parts = (save(part) for part in _parts(arrays.items()))
    return ArrayRecord(
        {
            str(number): Array(dtype="uint8", shape=(len(data),), stype=_FORMAT, data=data)
            for number, data in enumerate(parts)
        }
    )


def _parts(arrays: Iterable[tuple[str, NDArray[np.generic]]]) -> Iterator[dict[str, NDArray[np.generic]]]:
    part: dict[str, NDArray[np.generic]] = {}
    size = 0
    for name, value in arrays:
        if part and size + value.nbytes > _PART:
            yield part
            part, size = {}, 0
        part[name] = np.array(value, order="C", copy=None)
        size += value.nbytes
    if part:
        yield part


class UnreadableError(UserError):
    """A message is at fault: whoever sent it is left out, and the others go on."""


class PackedTensors(Mapping[str, NDArray[np.generic]]):
    """The way back: each array is a view of the message's bytes, which lie in memory once.

    Who keeps an array keeps the part of the message that it came in, and no other.

    Args:
        record: as `to_record` made it.

    Raises:
        UnreadableError: if its bytes are nothing of the kind.
    """

    def __init__(self, record: ArrayRecord) -> None:
        self._arrays: dict[str, NDArray[np.generic]] = {}
        for array in record.values():
            part = _Part(array.data)
            if self._arrays.keys() & part.arrays.keys():
                raise _unreadable("an array stands in two parts")
            self._arrays |= part.arrays

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class _Part:
    """Arrays that travelled as one object.

    Args:
        data: its bytes.

    Attributes:
        arrays: by name, views of the bytes.
    """

    def __init__(self, data: bytes) -> None:
        start = LENGTH + int.from_bytes(data[:LENGTH], "little")
        if start > LENGTH + _HEADER:
            raise _unreadable(f"a header above {_HEADER >> 20} MiB")
        try:
            header: dict[str, Any] = json.loads(data[LENGTH:start])
            header.pop("__metadata__", None)
            _check_places(header, len(data) - start)
            self.arrays = {name: _view(memoryview(data)[start:], entry) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise _unreadable(f"{type(error).__name__} in its header") from error


def _check_places(header: Mapping[str, Any], size: int) -> None:
    """Holds arrays to lie one behind another: two views of the same bytes would be two arrays where they are kept.

    Raises:
        ValueError: if two overlap, or bytes belong to none.
    """
    end = 0
    for begin, past in sorted(_offsets(entry) for entry in header.values()):
        if begin != end:
            raise ValueError("arrays that do not lie one behind another")
        end = past
    if end != max(size, 0):
        raise ValueError("bytes that belong to no array")


def _offsets(entry: Mapping[str, Any]) -> tuple[int, int]:
    begin, end = entry["data_offsets"]
    return _whole(begin), _whole(end)


def _view(data: memoryview, entry: Mapping[str, Any]) -> NDArray[np.generic]:
    """An array of a part, from where its header says that it lies.

    Raises:
        ValueError: if it does not fit into the part, or is of a shape that no array has.
    """
    kind = np.dtype(TYPES[entry["dtype"]]).newbyteorder("<")
    begin, end = _offsets(entry)
    size = kind.itemsize * math.prod(_whole(length) for length in entry["shape"])
    if not begin <= end <= len(data) or end - begin != size:
        raise ValueError("an array that does not fit into the message")
    return np.frombuffer(data[begin:end] if size else b"", kind).reshape(entry["shape"])


def _whole(value: object) -> int:
    """A length or place; numpy's own product would wrap around."""
    if type(value) is not int or value < 0:
        raise ValueError("a length that is none")
    return value


def _unreadable(what: str) -> UnreadableError:
    return UnreadableError(f"message: its arrays cannot be read ({what}); install one release everywhere")
