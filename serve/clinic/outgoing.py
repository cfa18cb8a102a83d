"""The last look at what goes to the archive: each document is of the study and the patient of its row."""

import io
from collections.abc import Mapping

import pydicom

from foundation.modalities.request import RequestError

_NEVER = "nothing was stored; tell the operator of this service"


def check_outgoing(outputs: Mapping[str, bytes], study: str, patient: str) -> None:
    """Refuses documents that say another study or patient, whatever led to them.

    Args:
        outputs: DICOM files by SOPInstanceUID.
        study: StudyInstanceUID of the row.
        patient: PatientID of the row.

    Raises:
        RequestError: naming the tag.
    """
    for uid, content in outputs.items():
        document = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
        expected = {"SOPInstanceUID": uid, "StudyInstanceUID": study, "PatientID": patient}
        for name, value in expected.items():
            if str(document.get(name, "")).strip() != value:
                raise RequestError(name, "a document says another than the study that it is for", _NEVER)
