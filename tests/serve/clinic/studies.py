"""Synthetic CT studies, a patient each, no two alike."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from tests.foundation.scan_files import dicom


def patient_of(number: int) -> str:
    return f"P{number:06d}"


def study_uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.10.1.{number + 1}"


def to_file(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@dataclass(frozen=True)
class SyntheticStudy:
    """A study of CT series that follows from its number alone.

    Attributes:
        number: of the study, its patient and its pixels.
        slices: of each series.
        series: how many.
        side: of a slice, pixels.
    """

    number: int
    slices: int = 3
    series: int = 1
    side: int = 24

    @property
    def uid(self) -> str:
        return study_uid(self.number)

    @property
    def patient(self) -> str:
        return patient_of(self.number)

    def datasets(self, **tags: object) -> Iterator[Dataset]:
        """Its instances; with further tags on each."""
        random = np.random.default_rng(self.number)
        for series in range(1, self.series + 1):
            level = random.uniform(-300, 300)
            for place in range(self.slices):
                blob = random.integers(-500, 500, (self.side // 4, self.side // 4)).repeat(4, 0).repeat(4, 1)
                yield self._slice(series, place, blob + level, tags)

    def _slice(self, series: int, place: int, pixels: np.ndarray, tags: dict[str, object]) -> Dataset:
        uid = f"{self.uid}.{series}"
        instance = f"{uid}.{place + 1}"
        facts = {
            "StudyInstanceUID": self.uid,
            "SeriesInstanceUID": uid,
            "SOPInstanceUID": instance,
            "PatientID": self.patient,
            "PatientName": f"Synthetic^{self.number}",
            "PatientBirthDate": "19700101",
            "PatientSex": "FMO"[self.number % 3],
            "AccessionNumber": f"A{self.number}",
            "StudyID": "1",
            "StudyDate": "20260102",
            "StudyTime": "101112",
            "SeriesNumber": series,
            "InstanceNumber": place + 1,
            "ImagePositionPatient": [0, 0, 5 * place],
            **tags,
        }
        dataset = dicom(pixels, **facts)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        return dataset
