"""Where in its slices an answer comes from, drawn over them: red raises the number that is explained, blue lowers it.

A picture for every viewer (Secondary Capture, PS3.3 A.8), a slice each, that names the slice it was drawn over.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from foundation.modalities.radiology.scan import fitted, grey, limits
from foundation.statistics.table import Floats
from serve.clinic.document import Answered, reference, to_bytes
from serve.clinic.reading import ShownSlice
from serve.explained import METHOD, Explanation

HEAT_MAP = "heat map"
SERIES_NUMBER = 9702
_STRONGEST = 0.6  # share of colour where the change is largest
_RAISES, _LOWERS = np.array([255, 0, 0]), np.array([0, 80, 255])


def heat_map_files(answered: Answered, explanation: Explanation, slices: Mapping[str, ShownSlice]) -> dict[str, bytes]:
    """By SOPInstanceUID, a DICOM file a slice whose squares were looked at.

    Args:
        answered: what was answered.
        explanation: of that answer.
        slices: of the request, by field.
    """
    drawn = [(slices[one.field], np.array(one.changes)) for one in explanation.images if one.field in slices]
    largest = max((float(np.abs(changes).max()) for _, changes in drawn), default=0.0)
    files = {}
    for number, (shown, changes) in enumerate(drawn, 1):
        uid = answered.uid(HEAT_MAP, str(shown.header.SOPInstanceUID), str(shown.place))
        pixels = blended(shown, changes / largest if largest else changes)
        files[uid] = _file(answered, explanation, shown, uid, number, pixels)
    return files


def blended(shown: ShownSlice, changes: Floats) -> NDArray[np.uint8]:
    """A slice in its own rows and columns, coloured by squares, RGB `[rows, columns, 3]`.

    Args:
        shown: the slice.
        changes: `[squares, squares]` of the square that the request showed it on, -1 to 1.
    """
    scan = shown.scan
    picture = scan.voxels[shown.place]
    if picture.ndim == 2:
        black_and_white = grey(picture, *limits(scan.voxels, scan.window))
        picture = np.repeat((255 - black_and_white if scan.inverted else black_and_white)[..., None], 3, axis=2)
    top, left, height, width = fitted(picture.shape, shown.side, scan.spacing)
    rows = _square_of(picture.shape[0], top, height, shown.side, len(changes))
    columns = _square_of(picture.shape[1], left, width, shown.side, changes.shape[1])
    heat = changes[np.ix_(rows, columns)][..., None]
    colour = np.where(heat > 0, _RAISES, _LOWERS)
    share = _STRONGEST * np.abs(heat)
    return np.asarray(np.round((1 - share) * picture + share * colour), dtype=np.uint8)


def _square_of(pixels: int, start: int, length: int, side: int, squares: int) -> NDArray[np.intp]:
    """Of each row or column of a picture, the square of the request's image that its middle lies in."""
    middles = start + (np.arange(pixels) + 0.5) * length / pixels
    return np.minimum((middles * squares / side).astype(np.intp), squares - 1)


def _file(
    answered: Answered, explanation: Explanation, shown: ShownSlice, uid: str, number: int, pixels: NDArray[np.uint8]
) -> bytes:
    orientation = _orientation(shown.header)
    document = SCImage.from_ref_dataset(
        ref_dataset=reference(shown.header),
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=answered.uid(HEAT_MAP, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=number,
        patient_orientation=orientation or ("L", "P"),  # highdicom asks for one; taken back below where none is known
        pixel_spacing=shown.scan.spacing,
        series_description=f"{answered.response.task}: what it goes by (Consilium)",
        **answered.shared,
    )
    source = Dataset()
    source.ReferencedSOPClassUID = shown.header.SOPClassUID
    source.ReferencedSOPInstanceUID = shown.header.SOPInstanceUID
    words = f"{explanation.explained}; red squares raise it, blue ones lower it; {METHOD}"
    more: dict[str, Any] = {
        "SourceImageSequence": [source],
        "DerivationDescription": words,
        "BurnedInAnnotation": "NO",
        "Laterality": "",  # of a paired part: asked for, and not known
    }
    if orientation is None:
        more["PatientOrientation"] = ""
    return to_bytes(document, shown.header, answered, more)


def _orientation(header: Dataset) -> tuple[str, str] | None:
    """Directions of rows and columns in the body, such as `("L", "P")`; None where the slice says none."""
    cosines = header.get("ImageOrientationPatient")
    if not cosines:
        return None
    cosines = np.array([float(value) for value in cosines])
    names = []
    for vector in (cosines[:3], cosines[3:]):
        axis = int(np.abs(vector).argmax())
        names.append(("LR", "PA", "HF")[axis][0 if vector[axis] > 0 else 1])
    return names[0], names[1]
