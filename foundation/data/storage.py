"""The storage of a modality in a prepared cohort: what is read back of a patient, and what of it a task may hide."""

from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.dictionary import DataDictionary
from foundation.data.packages import modules
from foundation.data.store import ImageStore
from foundation.errors import UserError

Hidden = dict[str, list[str]]


class HospitalFiles:
    """The arrays of one hospital in a prepared cohort, opened when they are first asked for.

    Args:
        folder: of the hospital.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._arrays: dict[str, NDArray[Any]] = {}
        self._stores: dict[str, ImageStore] = {}

    def array(self, name: str) -> NDArray[Any]:
        """A `.npy` file, mapped."""
        if name not in self._arrays:
            self._arrays[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return self._arrays[name]

    def store(self, name: str) -> ImageStore:
        """Arrays of one kind, a row each."""
        if name not in self._stores:
            self._stores[name] = ImageStore(self.folder, name)
        return self._stores[name]


class Storage(ABC):
    """A modality in a prepared cohort.

    Attributes:
        name: of the modality and of its package; also of the column that says who has it.
        order: its place among the others, in tables, samples and reports.
        core: whether every prepared cohort has its columns, even where nobody has it: those that the format began with.
        stored: whether values lie in an `ImageStore` of that name; their columns stand last.
        hides: keys of a task's `drop_inputs` that `hide` understands.
    """

    name: str
    order: int
    core: bool = False
    stored: bool = False
    hides: tuple[str, ...] = ()

    @abstractmethod
    def load(self, row: "pd.Series[Any]", files: HospitalFiles) -> Any:
        """The raw value of a patient who has it, as the encoder's `transform` takes it.

        Args:
            row: of the patients' table.
            files: of the patient's hospital.
        """

    def hide(self, raw: Any, dictionary: DataDictionary, hidden: Hidden) -> Any:
        """The value without the inputs that hold a task's target; None where nothing is left of it.

        Args:
            raw: as `load` gives it.
            dictionary: of the cohort.
            hidden: by one of `hides`, names.
        """
        return raw


class StoredImages:
    """A patient's rows of a store: like an array on disk, read where it is indexed.

    Args:
        store: holds them.
        start: position of the first.
        count: how many.
    """

    def __init__(self, store: ImageStore, start: int, count: int) -> None:
        self.dtype = store.dtype
        self._store = store
        self._positions = np.arange(start, start + count)

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(images, height, width, 3)` as the first one is, or `(tiles, dim)`."""
        return (len(self), *self[0].shape)

    def __getitem__(self, index: int | slice | NDArray[np.integer]) -> NDArray[Any]:
        """One image `[height, width, 3]` (or a tile's features `[dim]`) by number, else `[n, ...]`."""
        positions = self._positions[index]
        return self._store.read(positions) if isinstance(positions, np.ndarray) else self._store.read([positions])[0]

    def rows(self, index: slice | NDArray[np.integer]) -> list[NDArray[Any]]:
        """Images `[height, width, 3]` of whatever sizes, or tiles' features `[dim]`."""
        return self._store.rows(self._positions[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)


class ImageStorage(Storage):
    """Rows of a store, a run of them a patient: `<name>_start` and `<name>_count` in the patients' table.

    Args:
        name: see `Storage`, as for the others.
        order: its place.
        core: whether it is in every cohort.
    """

    stored = True

    def __init__(self, name: str, order: int, core: bool = False) -> None:
        self.name, self.order, self.core = name, order, core

    def load(self, row: "pd.Series[Any]", files: HospitalFiles) -> StoredImages:
        return StoredImages(files.store(self.name), int(row[f"{self.name}_start"]), int(row[f"{self.name}_count"]))


@cache
def storages() -> dict[str, Storage]:
    """Every modality's, by name, in order."""
    each: list[Storage] = [module.STORAGE for module in modules("storage").values()]
    return {storage.name: storage for storage in sorted(each, key=lambda storage: storage.order)}


def hide_inputs(sample: dict[str, Any], dictionary: DataDictionary, hidden: Hidden) -> dict[str, Any]:
    """A sample without the inputs that hold a task's target, and without modalities of which nothing is left.

    Raises:
        UserError: if no modality has an input of that name to hide.
    """
    known = [key for storage in storages().values() for key in storage.hides]
    for key in hidden:
        if key not in known:
            raise UserError(f"task.drop_inputs: nothing to hide is called '{key}'; choose from {', '.join(known)}")
    shown = {name: storages()[name].hide(raw, dictionary, hidden) for name, raw in sample.items()}
    return {name: raw for name, raw in shown.items() if raw is not None}
