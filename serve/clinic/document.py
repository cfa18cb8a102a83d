"""What every document that goes to the archive shares: whose it is, of which study, made by what and when."""

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from serve.clinic.uids import derived_uid
from serve.schema import Response

# It names patients and studies by their identifiers.
logging.getLogger("highdicom").setLevel(logging.WARNING)
MANUFACTURER = "Consilium"
_UTF8 = "ISO_IR 192"
_SEXES = ("M", "F", "O")
# Of patient and study: documents take them from an image that was read.
_PATIENT_AND_STUDY = (
    *("PatientID", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate", "StudyTime", "StudyInstanceUID"),
)
_NAMES = ("PatientName", "ReferringPhysicianName")  # set last: highdicom's warnings about unusual ones quote them
_TIMES = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
_IMAGE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns", "NumberOfFrames")


@dataclass(frozen=True)
class Answered:
    """An answer about a study, and when it was given.

    Attributes:
        study: StudyInstanceUID.
        response: of the endpoint.
        request_digest: SHA-256 of what was asked.
        time: of the answer, UTC.
    """

    study: str
    response: Response
    request_digest: str
    time: datetime

    def uid(self, *what: str) -> str:
        """The UID of a document, or of its series: the same whenever it is made."""
        return document_uid(self.study, self.response.model, *what)

    @property
    def shared(self) -> dict[str, Any]:
        """Arguments of highdicom that all documents take: who made it, when, and that it is research."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.response.model,
            "software_versions": f"{self.response.version} (consilium {self.response.release})",
            "device_serial_number": self.response.version,
            "content_date": self.time.date(),
            "content_time": self.time.time(),
            "series_date": self.time.date(),
            "series_time": self.time.time(),
            "specific_character_set": _UTF8,
        }


def document_uid(study: str, model: str, *what: str) -> str:
    """See `Answered.uid`."""
    return derived_uid(study, model, *what)


def reference(header: Dataset) -> Dataset:
    """What of an image a document needs: patient and study as text that UTF-8 holds, and which image it is."""
    kept = Dataset()
    for name in _PATIENT_AND_STUDY:
        setattr(kept, name, _text(header, name))
    for name in _IMAGE:
        if header.get(name) is not None:
            setattr(kept, name, header.get(name))
    for name in _NAMES:
        setattr(kept, name, "")
    kept.PatientSex = header.PatientSex if header.get("PatientSex") in _SEXES else None
    return kept


def to_bytes(document: Dataset, header: Dataset, answered: Answered, more: Mapping[str, Any]) -> bytes:
    """A document as a DICOM file.

    Args:
        document: of highdicom.
        header: of an image of the study.
        answered: what it tells of.
        more: further attributes.
    """
    if header.get("IssuerOfPatientID"):
        document.IssuerOfPatientID = str(header.IssuerOfPatientID)
    document.TimezoneOffsetFromUTC = "+0000"
    document.InstanceCreationDate = answered.time.strftime("%Y%m%d")
    document.InstanceCreationTime = answered.time.strftime("%H%M%S.%f")
    names = {name: str(header.get(name) or "") for name in _NAMES}
    for name, value in {**names, **more}.items():
        setattr(document, name, value)
    stream = io.BytesIO()
    document.save_as(stream)
    return stream.getvalue()


def _text(header: Dataset, name: str) -> str:
    """A tag's value; empty where it should be a date or a time and is none."""
    value = str(header.get(name) or "")
    try:
        _TIMES.get(name, str)(value)
    except ValueError:
        return ""
    return value
