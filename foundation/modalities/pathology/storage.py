"""Pathology in a prepared cohort: tiles, uint8 `[tiles, height, width, 3]`, or features `[tiles, dim]` float.

Where tiles were cut around spots of spatial transcriptomics, a row of `pathology_spots.npy` goes with each.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.storage import HospitalFiles, ImageStorage, StoredImages
from foundation.data.store import ImageStore

SPOTS = "pathology_spots"  # the array, and the column with a patient's first row in it


class SpottedImages(StoredImages):
    """Tiles of which each has the expression of a spot.

    Args:
        store: see `StoredImages`, as for the others.
        start: position of the first.
        count: how many.
        spots: float32 `[tiles, genes]`, standardised within a section; NaN where not measured.
    """

    def __init__(self, store: ImageStore, start: int, count: int, spots: NDArray[np.float32]) -> None:
        super().__init__(store, start, count)
        self.spots = spots


class PathologyStorage(ImageStorage):
    """Tiles or features, with expression where there are spots."""

    def load(self, row: "pd.Series[Any]", files: HospitalFiles) -> StoredImages:
        first = row.get(SPOTS)
        if first is None or pd.isna(first) or first < 0:
            return super().load(row, files)
        start, count = int(row[f"{self.name}_start"]), int(row[f"{self.name}_count"])
        spots = files.array(SPOTS)[int(first) : int(first) + count]
        return SpottedImages(files.store(self.name), start, count, spots)


STORAGE = PathologyStorage("pathology", order=10, core=True, pictures="thumbnails")
