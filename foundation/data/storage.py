"""The storage of a modality in a prepared cohort: what is read back of a patient, and what of it a task may hide."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.dictionary import DataDictionary
from foundation.data.packages import modules
from foundation.data.store import ImageStore
from foundation.data.store_merge import merge_stores
from foundation.errors import UserError
from foundation.files import link

Hidden = dict[str, list[str]]


@dataclass(frozen=True)
class Part:
    """Patients of one hospital, packed.

    Attributes:
        table: columns of one modality, indexed by patient.
        folder: where its files lie.
    """

    table: pd.DataFrame
    folder: Path


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
        optional: columns that a hospital has only where somebody has what they tell of.
    """

    name: str
    order: int
    core: bool = False
    stored: bool = False
    hides: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @abstractmethod
    def load(self, row: "pd.Series[Any]", files: HospitalFiles) -> Any:
        """The raw value of a patient who has it, as the encoder's `transform` takes it.

        Args:
            row: of the patients' table.
            files: of the patient's hospital.
        """

    def merge(self, kept: Part, fresh: Part, order: "pd.Index[str]", output: Path) -> pd.DataFrame:
        """A hospital's patients of two preparations together; what is kept is not decoded.

        Args:
            kept: of an earlier one, those who stay as they are.
            fresh: packed just now.
            order: both, in the order of their ids.
            output: folder of the hospital, for files.

        Returns:
            The modality's columns of the patients' table, indexed by `order`.
        """
        return stacked(kept, fresh).loc[order]

    def hide(self, raw: Any, dictionary: DataDictionary, hidden: Hidden) -> Any:
        """The value without the inputs that hold a task's target; None where nothing is left of it.

        Args:
            raw: as `load` gives it.
            dictionary: of the cohort.
            hidden: by one of `hides`, names.
        """
        return raw


def stacked(kept: Part, fresh: Part) -> pd.DataFrame:
    """Rows of both tables, of the types that they have in each."""
    parts = [part.table for part in (kept, fresh) if len(part.table)]
    return pd.concat(parts) if parts else kept.table


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
        pictures: folder of pictures beside the store, `<patient>-<number>.*`, if there are any.
    """

    stored = True

    def __init__(self, name: str, order: int, core: bool = False, pictures: str | None = None) -> None:
        self.name, self.order, self.core, self.pictures = name, order, core, pictures

    def merge(self, kept: Part, fresh: Part, order: "pd.Index[str]", output: Path) -> pd.DataFrame:
        """Files of rows that all stay are linked, those of rows that go are written anew without them."""
        table = stacked(kept, fresh).loc[order].copy()
        start, count = f"{self.name}_start", f"{self.name}_count"
        before = [(each.folder, each.table[[start, count]].to_numpy(dtype=np.int64)) for each in (kept, fresh)]
        starts = merge_stores([(folder, rows) for folder, rows in before], output, self.name)
        for each, of_part in zip((kept, fresh), starts, strict=True):
            table.loc[each.table.index, start] = of_part
        if self.pictures is not None:
            for each in (kept, fresh):
                _link_pictures(each.folder / self.pictures, set(each.table.index), output / self.pictures)
        return table

    def load(self, row: "pd.Series[Any]", files: HospitalFiles) -> StoredImages:
        return StoredImages(files.store(self.name), int(row[f"{self.name}_start"]), int(row[f"{self.name}_count"]))


def _link_pictures(folder: Path, patients: set[str], output: Path) -> None:
    for path in sorted(folder.glob("*-*")):
        if path.stem.rpartition("-")[0] in patients:
            output.mkdir(exist_ok=True)
            link(path, output / path.name)


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
