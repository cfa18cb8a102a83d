"""A prepared cohort, read: which patients there are, and what each of them has."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.dictionary import FILE, DataDictionary, read_prepared
from foundation.data.places import LATER, Places
from foundation.data.storage import HospitalFiles, storages
from foundation.errors import UserError
from foundation.run_record import walk


class Cohort:
    """Patients of a prepared folder; arrays stay on disk until a patient is asked for.

    Args:
        folder: as `prepare` wrote it.
        hospitals: of the view; all if None. No other hospital's files are opened.

    Attributes:
        modalities: of which the cohort tells, in order.
        patients: a row a patient: hospital, labels, survival, and by modality whether they have it.

    Raises:
        UserError: if the folder was not written by `prepare`.
    """

    def __init__(self, folder: Path, hospitals: list[str] | None = None) -> None:
        content = read_prepared(folder)
        self.folder = folder
        self.name: str = content["name"]
        self.digest: str = content["digest"]
        self.earlier: list[str] = [step["from"] for step in content.get("grown", [])]  # digests before it grew
        self.synthetic: bool = content["synthetic"]
        self.dictionary = DataDictionary.model_validate(content["dictionary"])
        self.declared: list[str] = content["hospitals"]
        self.hospitals = [name for name in self.declared if hospitals is None or name in hospitals]
        tables = [_table(folder / name / "patients.parquet") for name in self.hospitals]
        self.patients: pd.DataFrame = pd.concat(tables)
        self.modalities = [name for name in storages() if name in self.patients]
        # Nobody has a modality that the cohort was prepared without.
        self.patients = self.patients.assign(**{name: False for name in storages() if name not in self.patients})
        self._places = Places.read(folder, bool(content.get("grown")))
        self._files = {name: HospitalFiles(folder / name) for name in self.hospitals}

    @property
    def grown(self) -> bool:
        """Whether patients came or left since it was first prepared."""
        return self._places is not None

    @property
    def origins(self) -> list[str]:
        """Hospitals where the view's patients were first: its own, then others whence some have moved."""
        if self._places is None:
            return self.hospitals
        others = self._places.place.keys() - set(self.hospitals)
        return self.hospitals + sorted(name for name in others if self._placed(name))

    def first(self, hospital: str) -> list[str | None]:
        """A hospital's patients when the cohort was first prepared, in order; None where one is not in the view now."""
        if self._places is None:
            return sorted(self.patients.index[self.patients["hospital"] == hospital])
        patients: list[str | None] = [None] * self._places.counts.get(hospital, 0)
        for patient, place in self._placed(hospital).items():
            if place != LATER:
                patients[place] = patient
        return patients

    def first_of_all(self, hospital: str) -> list[str | None]:
        """The same with those who have gone to hospitals outside the view; None where one has left the cohort."""
        patients = self.first(hospital)
        for patient, place in self._everybody(hospital).items():
            if place != LATER:
                patients[place] = patient
        return patients

    def later(self, hospital: str) -> list[str]:
        """Those who came to it first, and since, in order."""
        return sorted(patient for patient, place in self._placed(hospital).items() if place == LATER)

    def _placed(self, hospital: str) -> dict[str, int]:
        """Places of the view's patients who were at a hospital first."""
        return {one: place for one, place in self._everybody(hospital).items() if one in self.patients.index}

    def _everybody(self, hospital: str) -> dict[str, int]:
        """Places of all patients of the cohort, in the view or not, who were at a hospital first."""
        places = {} if self._places is None else self._places.place.get(hospital, {})
        return {str(patient): int(place) for patient, place in places.items()}

    @classmethod
    def of_run(cls, run: Path) -> "Cohort":
        """The prepared cohort at the root of a run, found through the run's records.

        Raises:
            UserError: if no run that it builds on is a prepared cohort.
        """
        for folder, *_ in walk(run):
            if (folder / FILE).is_file():
                return cls(folder)
        raise UserError(f"{run}: no run that it builds on is a prepared cohort; run python -m finetune again")

    def check_name(self, name: str) -> None:
        """Refuses another cohort than the run is about, whose record and results would be called by a wrong name.

        Raises:
            UserError: if the folder holds another.
        """
        if name != self.name:
            kind = " (synthetic patients)" if self.synthetic else ""
            raise UserError(
                f"data.folder: {self.folder} holds cohort '{self.name}'{kind}, and cohort.name is '{name}'; give the "
                f"folder that '{name}' was prepared in, or choose {self.name}: cohort=folder cohort.name={self.name}"
            )

    def facts(self) -> dict[str, Any]:
        """What a run record says of its data."""
        return {"name": self.name, "digest": self.digest, "synthetic": self.synthetic, "hospitals": self.declared}

    def values(self, patients: Iterable[str], modality: str) -> Iterator[Any]:
        """The raw values of one modality, of those patients who have it, in order."""
        for patient in patients:
            row = self.patients.loc[patient]
            if row[modality]:
                yield storages()[modality].load(row, self._files[row["hospital"]])

    def sample(self, patient_id: str, modalities: Collection[str] | None = None) -> dict[str, Any]:
        """What one patient has, by modality, raw; each modality's `storage.py` says in what form.

        Args:
            patient_id: of the patient.
            modalities: that are read, all others left alone; all of the cohort's if not given.
        """
        row = self.patients.loc[patient_id]
        files = self._files[row["hospital"]]
        wanted = self.modalities if modalities is None else [name for name in self.modalities if name in modalities]
        return {name: storages()[name].load(row, files) for name in wanted if row[name]}


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error}); restore it, or prepare the cohort again") from error
