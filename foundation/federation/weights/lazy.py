"""Weights on disk, read an array at a time: a server's memory does not grow with the model or the sites."""

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from foundation.errors import UserError

TYPES = {
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
}  # of safetensors, as numpy has them
LENGTH = 8  # bytes of a safetensors file that hold the length of its header


class LazySafetensors(Mapping[str, NDArray[np.generic]]):
    """Weights of a safetensors file; each is read when it is asked for, and kept by nobody.

    The header is read once, and the file stays open: what is put in its place meanwhile is another file.

    Args:
        path: of the file.

    Raises:
        UserError: if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="numpy"):  # holds places, types and shapes against the file's size
                self._file = path.open("rb")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: not readable as weights ({error}); restore it from a copy") from error
        length = int.from_bytes(self._file.read(LENGTH), "little")
        self._entries: dict[str, Any] = json.loads(self._file.read(length))
        self._entries.pop("__metadata__", None)
        self._start = LENGTH + length
        if strange := {entry["dtype"] for entry in self._entries.values()} - TYPES.keys():
            raise UserError(f"{path}: weights of type {', '.join(sorted(strange))}, which no site sends; convert them")

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        entry = self._entries[name]
        kind, shape = np.dtype(TYPES[entry["dtype"]]).newbyteorder("<"), entry["shape"]
        self._file.seek(self._start + entry["data_offsets"][0])
        return np.fromfile(self._file, kind, math.prod(shape)).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Computed(Mapping[str, NDArray[np.generic]]):
    """Arrays that are computed when they are asked for, and kept by nobody.

    Args:
        names: of the arrays.
        compute: an array by its name.
    """

    def __init__(self, names: Iterable[str], compute: Callable[[str], NDArray[np.generic]]) -> None:
        self._names = dict.fromkeys(names)
        self._compute = compute

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._names:
            raise KeyError(name)
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class DiskSpill(Mapping[str, NDArray[np.generic]]):
    """Arrays by name, in memory up to a number of bytes and in files of a folder beyond it.

    Args:
        folder: for the files; made when it is needed.
        budget: bytes to hold in memory.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder
        self.budget = budget
        self._in_memory: dict[str, NDArray[np.generic]] = {}
        self._files: dict[str, Path] = {}

    def put(self, name: str, value: NDArray[np.generic]) -> None:
        """Keeps an array; a second one of the same name replaces the first."""
        if value.nbytes <= self.budget:
            self.budget -= value.nbytes
            self._in_memory[name] = np.array(value)  # a view would keep the part of a message that it came in
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{len(self._files):06d}.npy"
        np.save(path, value, allow_pickle=False)
        self._files[name] = path

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name in self._in_memory:
            return self._in_memory[name]
        value: NDArray[np.generic] = np.load(self._files[name], allow_pickle=False)
        return value

    def __iter__(self) -> Iterator[str]:
        yield from self._in_memory
        yield from self._files

    def __len__(self) -> int:
        return len(self._in_memory) + len(self._files)

    def clear(self) -> None:
        """Forgets everything, files included."""
        self._in_memory.clear()
        self._files.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
