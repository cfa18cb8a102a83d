"""Slices of radiology files of any kind."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foundation.data.image_files import read_image
from foundation.data.problems import Problems, refuse
from foundation.modalities.radiology.dicom import read_series
from foundation.modalities.radiology.nifti import read_nifti
from foundation.modalities.radiology.scan import Scan, SliceSettings, to_slices

Kind = Literal["images", "dicom", "nifti"]


def read_slices(path: Path, kind: Kind, settings: SliceSettings, problems: Problems) -> NDArray[np.uint8]:
    """The slices of one scan, RGB `[slices, side, side, 3]`.

    Args:
        path: folder or file for DICOM, file for NIfTI and ordinary images.
        kind: of the path.
        settings: which slices, how bright, how large.
        problems: takes warnings.

    Raises:
        DataError: if the scan cannot be read.
    """
    if kind == "dicom":
        return to_slices(read_series(path, settings, problems), settings)
    if kind == "nifti":
        return to_slices(read_nifti(path, settings, problems), settings)
    return to_slices(_picture(path), settings)


def _picture(path: Path) -> Scan:
    """An ordinary image, as a scan of one slice; more than eight bits are scaled like a scan's."""
    read_image(path)  # refuses what is missing, cut off or no image
    with Image.open(path) as image:
        pages = getattr(image, "n_frames", 1)
        if pages > 1:
            raise refuse(path, f"{pages} pages", "save one image a file", field="pages")
        if image.mode in ("F", "I") or image.mode.startswith("I;16"):
            return Scan(np.asarray(image, dtype=np.float32)[None])
    return Scan(read_image(path)[None])
