"""Hounsfield units: whether a CT's values are any, told by tags and by the values themselves.

Scanners store values from 0 up and a slope and an intercept beside them (usually 1 and -1024). Where these two were
lost on the way, air lies at 0 and tissue at 1000: a window then shows white.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import refuse

Rescale = tuple[float, float]

_AIR = (-1100.0, -850.0)
_LEAST_AIR = 0.002  # share of voxels: every body lies in air, and nearly every picture shows some
_STORED_TISSUE = (850.0, 1250.0)  # fat to muscle, less an intercept of about -1024
_ABOVE_AIR = 150.0  # of stored values
_PADDING = -1500.0  # below it nothing was measured
_LOWEST_STORED = -50.0
_MOST = 1_000_000  # voxels looked at
ADVICE = "write Hounsfield units, or declare rescale: [slope, intercept] under sources ([1, 0] if they are right)"


def from_tags(
    folder: Path, voxels: NDArray[Any], intercepts: list[float | None], rescale: Rescale | None
) -> NDArray[Any]:
    """A CT series in Hounsfield units.

    Args:
        folder: for messages.
        voxels: `[slices, rows, columns]`, rescaled where slices say how.
        intercepts: of each slice; None where it does not say.
        rescale: declared slope and intercept, used where a series' own are missing or cannot be.

    Raises:
        DataError: if its values are none and nobody says what would make them so.
    """
    lost = np.array([intercept is None for intercept in intercepts])
    if lost.any():
        if rescale is None and not _shows_air(voxels[lost]):
            finding = f"CT without rescale tags in {lost.sum()} of {len(lost)} slices, and its values are no Hounsfield"
            raise refuse(folder, f"{finding} units", ADVICE, field="RescaleIntercept")
        if rescale is None or (lost.all() and _shows_air(voxels)):
            return voxels
        return np.where(lost[:, None, None], _apply(voxels, rescale), voxels)
    if all(intercept == 0 for intercept in intercepts):
        return where_stored(folder, voxels, rescale, "RescaleIntercept")
    return voxels


def where_stored(path: Path, voxels: NDArray[Any], rescale: Rescale | None, field: str = "voxels") -> NDArray[Any]:
    """Values that are said to be Hounsfield units; rescaled where they look like stored ones.

    Raises:
        DataError: if they do, and nobody says what would make them right.
    """
    if not _looks_stored(voxels):
        return voxels
    if rescale is None:
        finding = "no Hounsfield units: nothing is below air's 0, and tissue lies about 1000, as scanners store it"
        raise refuse(path, finding, ADVICE, field=field)
    return _apply(voxels, rescale)


def _apply(voxels: NDArray[Any], rescale: Rescale) -> NDArray[Any]:
    return np.asarray(voxels * np.float32(rescale[0]) + np.float32(rescale[1]))


def _some(voxels: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(voxels.ravel()[:: max(voxels.size // _MOST, 1)])


def _shows_air(voxels: NDArray[Any]) -> bool:
    some = _some(voxels)
    return bool(((some >= _AIR[0]) & (some <= _AIR[1])).mean() >= _LEAST_AIR)


def _looks_stored(voxels: NDArray[Any]) -> bool:
    some = _some(voxels)
    some = some[some > _PADDING]
    dense = some[some > _ABOVE_AIR]
    if not len(dense) or some.min() < _LOWEST_STORED:
        return False
    tissue = (dense >= _STORED_TISSUE[0]) & (dense <= _STORED_TISSUE[1])
    return bool(tissue.mean() > 0.5)
