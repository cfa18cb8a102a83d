"""Pathology in a prepared cohort: tiles, uint8 `[tiles, height, width, 3]`, or features `[tiles, dim]` float.

Where tiles were cut around spots of spatial transcriptomics, a row of `pathology_spots.npy` goes with each.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.storage import HospitalFiles, ImageStorage, Part, StoredImages
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

    optional = (SPOTS,)

    def merge(self, kept: Part, fresh: Part, order: "pd.Index[str]", output: Path) -> pd.DataFrame:
        """As of images; the rows of spots of those who stay and those packed anew, patient by patient in order."""
        table = super().merge(kept, fresh, order, output)
        if SPOTS not in table:
            return table
        first = table.pop(SPOTS).fillna(-1).astype("int64")
        with_spots = first.index[first >= 0]
        if not len(with_spots):
            return table
        counts = table.loc[with_spots, f"{self.name}_count"].astype("int64")
        begins = counts.cumsum() - counts
        parts = {id(part): np.load(part.folder / f"{SPOTS}.npy", mmap_mode="r") for part in (kept, fresh) if _any(part)}
        shape = (int(counts.sum()), next(iter(parts.values())).shape[1])
        whole = np.lib.format.open_memmap(output / f"{SPOTS}.npy", mode="w+", dtype=np.float32, shape=shape)
        for part in (kept, fresh):
            for patient in with_spots.intersection(part.table.index):
                begin, start, count = begins[patient], first[patient], counts[patient]
                whole[begin : begin + count] = parts[id(part)][start : start + count]
        whole.flush()
        return table.assign(**{SPOTS: begins.reindex(order, fill_value=-1)})

    def load(self, row: "pd.Series[Any]", files: HospitalFiles) -> StoredImages:
        first = row.get(SPOTS)
        if first is None or pd.isna(first) or first < 0:
            return super().load(row, files)
        start, count = int(row[f"{self.name}_start"]), int(row[f"{self.name}_count"])
        spots = files.array(SPOTS)[int(first) : int(first) + count]
        return SpottedImages(files.store(self.name), start, count, spots)


def _any(part: Part) -> bool:
    return SPOTS in part.table and bool((part.table[SPOTS] >= 0).any())


STORAGE = PathologyStorage("pathology", order=10, core=True, pictures="thumbnails")
