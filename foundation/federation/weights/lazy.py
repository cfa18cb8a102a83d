"""Weights on disk, read an array at a time: a server's memory does not grow with the model or the sites."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from foundation.errors import UserError


class LazySafetensors(Mapping[str, NDArray[np.generic]]):
    """Weights of a safetensors file; each is read when it is asked for, and kept by nobody.

    Args:
        path: of the file.

    Raises:
        UserError: if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="numpy") as file:
                self._names = list(file.keys())
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: not readable as weights ({error}); restore it from a copy") from error

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._names:
            raise KeyError(name)
        file: Any
        with safe_open(self.path, framework="numpy") as file:
            value: NDArray[np.generic] = file.get_tensor(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


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
