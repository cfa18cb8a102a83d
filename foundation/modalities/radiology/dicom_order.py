"""The order of a series' slices."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import Problems, refuse

_GAP = 1.5  # times the usual distance: a slice is missing
_SAME = 1e-3  # millimetres
_TWICE = "remove the copy; give one time point or echo only"
_EXPORT = "export the series again from the archive"


@dataclass(frozen=True)
class DicomSlice:
    """One picture of a series.

    Attributes:
        path: of its file.
        pixels: `[rows, columns]` float32 or `[rows, columns, 3]` uint8.
        position: of the first pixel, millimetres `[3]`.
        orientation: directions of a row and of a column `[6]`.
        number: InstanceNumber.
        intercept: RescaleIntercept; None where the file does not say, NaN where a table stands instead.
    """

    path: Path
    pixels: NDArray[Any]
    position: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None
    number: int | None
    intercept: float | None = None


def in_order(folder: Path, slices: list[DicomSlice], problems: Problems) -> list[DicomSlice]:
    """Slices along the normal of their plane; by number where positions are not given; as they stand in one file.

    Raises:
        DataError: if their order cannot be told, planes differ, or two slices lie at one place.
    """
    if len(slices) == 1:
        return slices
    if all(part.position is not None and part.orientation is not None for part in slices):
        return _in_space(folder, slices, problems)
    if len({part.path for part in slices}) == 1:
        return slices
    return _by_number(folder, slices, problems)


def _by_number(folder: Path, slices: list[DicomSlice], problems: Problems) -> list[DicomSlice]:
    for part in slices:
        if part.number is None:
            raise refuse(part.path, "neither position nor number", _EXPORT, field="ImagePositionPatient")
    ordered = sorted(slices, key=lambda part: part.number or 0)
    for one, other in itertools.pairwise(ordered):
        if one.number == other.number and one.path != other.path:
            raise refuse(other.path, "its number stands twice in the series", _TWICE, field="InstanceNumber")
    numbers = sorted({part.number or 0 for part in ordered})
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    if missing:
        problems.warn(folder, f"{missing} slices missing by their numbers", _EXPORT, field="InstanceNumber")
    return ordered


def _in_space(folder: Path, slices: list[DicomSlice], problems: Problems) -> list[DicomSlice]:
    planes = np.stack([part.orientation for part in slices if part.orientation is not None])
    normal = np.cross(planes[0, :3], planes[0, 3:])
    if (np.abs(planes - planes[0]) > 0.01).any() or not np.isclose(np.linalg.norm(normal), 1, atol=0.01):
        finding = "slices lie in different planes"
        raise refuse(folder, finding, "give one series without localizer", field="ImageOrientationPatient")
    along = np.stack([part.position for part in slices if part.position is not None]) @ normal
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    if (steps < _SAME).any():
        path = slices[order[int(np.argmin(steps)) + 1]].path
        raise refuse(path, "another slice lies at its position", _TWICE, field="ImagePositionPatient")
    usual = float(np.median(steps))
    missing = int((np.round(steps / usual) - 1)[steps > _GAP * usual].sum())
    if missing:
        problems.warn(folder, f"{missing} slices missing by their positions", _EXPORT, field="ImagePositionPatient")
    return [slices[index] for index in order]
