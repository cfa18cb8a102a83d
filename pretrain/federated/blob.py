"""Many arrays as one object of a message: Flower carries every object by a request of its own, on every hop."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray
from safetensors.numpy import save

from foundation.errors import UserError

_NAME, _FORMAT = "arrays", "safetensors"
_LENGTH = 8  # bytes that hold the length of the header
_TYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
}


def to_record(arrays: Mapping[str, NDArray[np.generic]]) -> ArrayRecord:
    """Arrays of any shapes, laid out as a safetensors file is; an empty record if there are none."""
    if not arrays:
        return ArrayRecord()
    data = save({name: np.array(value, order="C", copy=None) for name, value in arrays.items()})
    return ArrayRecord({_NAME: Array(dtype="uint8", shape=(len(data),), stype=_FORMAT, data=data)})


class UnreadableError(UserError):
    """A message is at fault: whoever sent it is left out, and the others go on."""


class Blob(Mapping[str, NDArray[np.generic]]):
    """The way back: each array is a view of the message's bytes, which lie in memory once.

    Args:
        record: as `to_record` made it.

    Raises:
        UnreadableError: if its bytes are nothing of the kind.
    """

    def __init__(self, record: ArrayRecord) -> None:
        self._data = record[_NAME].data if _NAME in record else b""
        self._header: dict[str, Any] = self._read() if self._data else {}

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        entry = self._header[name]
        start, end = (self._start + offset for offset in entry["data_offsets"])
        values = np.frombuffer(
            self._data[start:end] if start == end else memoryview(self._data)[start:end], entry["type"]
        )
        return values.reshape(entry["shape"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)

    def _read(self) -> dict[str, Any]:
        self._start = _LENGTH + int.from_bytes(self._data[:_LENGTH], "little")
        try:
            found = json.loads(self._data[_LENGTH : self._start])
            found.pop("__metadata__", None)
            for name, entry in found.items():
                entry["type"] = np.dtype(_TYPES[entry["dtype"]]).newbyteorder("<")
                begin, end = entry["data_offsets"]
                size = entry["type"].itemsize * int(np.prod(entry["shape"], dtype=np.int64))
                if not 0 <= begin <= end <= len(self._data) - self._start or end - begin != size:
                    raise ValueError(f"{name}: does not fit into the message")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableError(
                f"message: its arrays cannot be read ({error}); install one release everywhere"
            ) from error
        return dict(found)
