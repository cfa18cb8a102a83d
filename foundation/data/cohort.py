"""A prepared cohort, read: which patients there are, and what each of them has."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.dictionary import DataDictionary
from foundation.data.store import ImageStore
from foundation.errors import UserError
from foundation.run_record import walk

FILE = "cohort.json"
MODALITIES = ("pathology", "radiology", "genomics", "report", "record")
CHANNELS = ("expression", "mutations", "copy_number")


class Cohort:
    """Patients of a prepared folder; arrays stay on disk until a patient is asked for.

    Args:
        folder: as `prepare` wrote it.
        hospitals: of the view; all if None. No other hospital's files are opened.
    """

    def __init__(self, folder: Path, hospitals: list[str] | None = None) -> None:
        content = _read(folder)
        self.folder = folder
        self.name: str = content["name"]
        self.digest: str = content["digest"]
        self.synthetic: bool = content["synthetic"]
        self.dictionary = DataDictionary.model_validate(content["dictionary"])
        self.declared: list[str] = content["hospitals"]
        self.hospitals = [name for name in self.declared if hospitals is None or name in hospitals]
        tables = [_table(folder / name / "patients.parquet") for name in self.hospitals]
        self.patients: pd.DataFrame = pd.concat(tables)
        self._arrays: dict[tuple[str, str], NDArray[Any]] = {}
        self._stores: dict[tuple[str, str], ImageStore] = {}

    @classmethod
    def load(cls, folder: Path) -> "Cohort":
        """Opens a prepared cohort.

        Raises:
            UserError: if the folder was not written by `prepare`.
        """
        return cls(folder)

    @classmethod
    def of_run(cls, run: Path) -> "Cohort":
        """The prepared cohort at the root of a run, found through the run's records.

        Raises:
            UserError: if no run that it builds on is a prepared cohort.
        """
        for folder, _ in walk(run):
            if (folder / FILE).is_file():
                return cls(folder)
        raise UserError(f"{run}: no run that it builds on is a prepared cohort; run python -m finetune again")

    def facts(self) -> dict[str, Any]:
        """What a run record says of its data."""
        return {"name": self.name, "digest": self.digest, "synthetic": self.synthetic, "hospitals": self.declared}

    def sample(self, patient_id: str) -> dict[str, Any]:
        """What one patient has, by modality, raw.

        Pathology and radiology are `StoredImages`, uint8 `[images, height, width, 3]`, of which only those are read
        that are indexed; genomics is by channel float32 `[genes]` with NaN where not measured; report is text; record
        is by column, None where unknown.
        """
        row = self.patients.loc[patient_id]
        found: dict[str, Any] = {}
        for name in ("pathology", "radiology"):
            if row[name]:
                start, count = int(row[f"{name}_start"]), int(row[f"{name}_count"])
                found[name] = StoredImages(self._store(row["hospital"], name), start, count)
        if row["genomics"]:
            table = self._array(row["hospital"], "genomics")[int(row["genomics_row"])]
            found["genomics"] = {channel: table[index] for index, channel in enumerate(CHANNELS)}
        if row["report"]:
            found["report"] = row["report_text"]
        if row["record"]:
            found["record"] = json.loads(row["record_values"])
        return found

    def _array(self, hospital: str, name: str) -> NDArray[Any]:
        key = (hospital, name)
        if key not in self._arrays:
            self._arrays[key] = np.load(self.folder / hospital / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return self._arrays[key]

    def _store(self, hospital: str, name: str) -> ImageStore:
        key = (hospital, name)
        if key not in self._stores:
            self._stores[key] = ImageStore(self.folder / hospital, name)
        return self._stores[key]


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
        """`(images, height, width, 3)`, or `(tiles, dim)`."""
        return (len(self), *self[0].shape)

    def __getitem__(self, index: int | slice | NDArray[np.integer]) -> NDArray[Any]:
        """One image `[height, width, 3]` (or a tile's features `[dim]`) by number, else `[n, ...]`."""
        positions = self._positions[index]
        return self._store.read(positions) if isinstance(positions, np.ndarray) else self._store.read([positions])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)


def read_dictionary(folder: Path) -> DataDictionary:
    """The data dictionary alone, for whoever builds a model and sees no patient."""
    return DataDictionary.model_validate(_read(folder)["dictionary"])


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error}); restore it, or prepare the cohort again") from error


def _read(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    if not path.is_file():
        raise UserError(
            f"{folder}: no {FILE}; prepare a cohort first: python -m foundation.data prepare output={folder}"
        )
    content: dict[str, Any] = json.loads(path.read_text())
    return content
