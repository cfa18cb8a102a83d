"""Label maps among scans, told by their voxels, whatever they are called."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import refuse

_FEW = 4  # values, which no scanner makes
_MANY = 128  # labels of the largest atlases in use
_EVEN = 0.6  # share of voxels, the commonest value aside, whose neighbour has the same value; noise leaves none
_MOST = 1_000_000  # voxels whose values are counted at first


def refuse_label_map(path: Path, voxels: NDArray[Any]) -> None:
    """Refuses a mask or segmentation, which would teach a model what an annotator knew.

    Raises:
        DataError: if the voxels are few values in even patches.
    """
    if is_label_map(voxels):
        advice = "take it out, or declare annotations: keep under sources to take it as a scan"
        raise refuse(path, "a mask or label map, no scan: few values in even patches", advice, field="voxels")


def is_label_map(voxels: NDArray[Any]) -> bool:
    """Whether voxels `[x, y, z]` are labels: two to four values, or whole numbers in even patches."""
    values, counts = np.unique(voxels.ravel()[:: max(voxels.size // _MOST, 1)], return_counts=True)
    if len(values) <= _FEW:
        return len(np.unique(voxels)) <= _FEW
    if len(values) > _MANY or (values != np.round(values)).any():
        return False
    labelled = voxels[:-1] != values[counts.argmax()]
    same = voxels[:-1] == voxels[1:]
    return bool(labelled.any() and same[labelled].mean() >= _EVEN)
