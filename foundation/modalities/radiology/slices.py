"""Slices of scans of any kind."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import Problems
from foundation.modalities.radiology.scan import SliceSettings, to_slices

Kind = Literal["dicom", "nifti"]


def read_slices(path: Path, kind: Kind, settings: SliceSettings, problems: Problems) -> NDArray[np.uint8]:
    """The slices of one scan, RGB `[slices, side, side, 3]`.

    Args:
        path: folder or file for DICOM, file for NIfTI.
        kind: of the path.
        settings: which slices, how bright, how large.
        problems: takes warnings.

    Raises:
        DataError: if the scan cannot be read.
    """
    if kind == "dicom":
        from foundation.modalities.radiology.dicom import read_series  # whoever has no new scan need not wait for it

        return to_slices(read_series(path, settings, problems), settings)
    from foundation.modalities.radiology.nifti import read_nifti

    return to_slices(read_nifti(path, settings, problems), settings)
