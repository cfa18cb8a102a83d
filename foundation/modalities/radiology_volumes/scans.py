"""Scans as they lie in space: DICOM series and NIfTI files."""

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import Problems, refuse
from foundation.modalities.radiology.dicom import Series, open_series
from foundation.modalities.radiology.dicom_order import DicomSlice
from foundation.modalities.radiology.hounsfield import Rescale
from foundation.modalities.radiology.nifti import open_nifti
from foundation.modalities.radiology.scan import Volume

_FINEST, _COARSEST = 0.01, 100.0  # millimetres from voxel to voxel, from a micrograph of a specimen to no scan at all
_EXPORT = "export the series again from the archive, or leave it out"


def read_volume(
    path: Path, kind: str, channel: int | None, problems: Problems, rescale: Rescale | None = None
) -> Volume:
    """One scan, its axes turned to those next to the body's.

    Args:
        path: folder or file for `dicom`, file for `nifti`.
        kind: of the path.
        channel: of a NIfTI file with four dimensions, counted from 0.
        problems: takes warnings.
        rescale: slope and intercept of CT series whose own are missing or cannot be.

    Raises:
        DataError: if the scan cannot be read, or does not say how it lies in space.
    """
    if kind != "nifti":
        return to_volume(path, open_series(path, problems, rescale))
    volume = open_nifti(path, channel, problems)
    check_spacing(volume, path)
    return volume


def check_spacing(volume: Volume, path: Path) -> None:
    """Refuses a scan whose voxels are of no size that scanners make: smoothing to the grid's would know no end.

    Raises:
        DataError: naming the spacing.
    """
    steps = [float(step) for step in np.linalg.norm(volume.affine[:3, :3], axis=0)]
    if not all(_FINEST <= step <= _COARSEST for step in steps):
        finding, advice = "voxels of no size that scanners make", "mend sform, qform and units: millimetres"
        raise refuse(path, finding, advice, field="spacing", value=", ".join(f"{step:g}" for step in steps))


def to_volume(path: Path, series: Series) -> Volume:
    """A series that was read, its axes turned to those next to the body's.

    Args:
        path: of the series, for errors.
        series: likewise.

    Raises:
        DataError: if it does not say how it lies in space.
    """
    if series.voxels.ndim != 3:
        raise refuse(path, "colour pictures", "give scans with one number a voxel", field="SamplesPerPixel")
    if len(series.slices) < 2:
        raise refuse(path, "one slice is no volume", "give whole series", field="ImagePositionPatient")
    if any(part.position is None or part.orientation is None for part in series.slices):
        raise refuse(path, "does not say how it lies in space", _EXPORT, field="ImagePositionPatient")
    if series.spacing is None:
        raise refuse(path, "does not say how large its pixels are", _EXPORT, field="PixelSpacing")
    voxels = -series.voxels if series.inverted else series.voxels
    image = nibabel.Nifti1Image(np.ascontiguousarray(voxels.transpose(2, 1, 0)), _affine(series.slices, series.spacing))
    image = nibabel.as_closest_canonical(image)
    right, front, up = (float(step) for step in nibabel.affines.voxel_sizes(image.affine))
    volume = Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine), (right, front, up))
    check_spacing(volume, path)
    return volume


def _affine(slices: list[DicomSlice], spacing: tuple[float, float]) -> NDArray[np.float64]:
    """From column, row and slice to millimetres to the right, to the front and up.

    DICOM counts millimetres to the left and to the back (PS3.3, C.7.6.2.1.1).
    """
    first, last = slices[0], slices[-1]
    assert first.position is not None and last.position is not None and first.orientation is not None
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[:3] * spacing[1]
    affine[:3, 1] = first.orientation[3:] * spacing[0]
    affine[:3, 2] = (last.position - first.position) / (len(slices) - 1)
    affine[:3, 3] = first.position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
