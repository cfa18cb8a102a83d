"""Radiology volumes from a hospital's files: DICOM series and NIfTI files, brought to the cohort's grid.

Usual places: `radiology_volumes.csv` (or another form of table) listing `patient_id`, `file`; else
`radiology_volumes/`: DICOM folders, NIfTI files. The grid stands in the data dictionary, for it is one for all
hospitals: `settings: {radiology_volumes: {spacing: [2, 2, 2], shape: [96, 96, 96], windows: [[40, 400]]}}`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from foundation.data.dictionary import DataDictionary
from foundation.data.image_looks import Look, files_of
from foundation.data.image_preparation import ImagePreparation, Reader
from foundation.data.image_source import ImageSource
from foundation.data.preparation import Packing
from foundation.data.problems import Problems, refuse_invalid
from foundation.modalities.radiology.hounsfield import where_stored
from foundation.modalities.radiology.label_maps import refuse_label_map
from foundation.modalities.radiology_volumes.grid import Grid
from foundation.modalities.radiology_volumes.storage import STORAGE

_SLICES = 8  # of each scan that a look compares with those of other patients


class VolumeSource(ImageSource):
    """DICOM series or NIfTI files.

    Args:
        kind: see `ImageSource`.
        channel: of NIfTI files with four dimensions, counted from 0.
        rescale: slope and intercept that make Hounsfield units of CT whose own are missing or cannot be.
    """

    kind: Literal["dicom", "nifti"] | None = None
    channel: int | None = Field(None, ge=0)
    rescale: tuple[float, float] | None = None


class VolumePreparation(ImagePreparation):
    """Scans become rows."""

    storage = STORAGE
    source = VolumeSource
    kinds = ("dicom", "nifti")

    def approve(self, dictionary: DataDictionary, path: Path) -> DataDictionary:
        try:
            Grid.of(dictionary)
        except ValidationError as error:
            advice = "see foundation/modalities/radiology_volumes/grid.py"
            raise refuse_invalid(path, error, advice, "dictionary.settings", STORAGE.name) from error
        return dictionary

    def usual_files(self, folder: Path) -> ImageSource | None:
        return VolumeSource(files=f"{STORAGE.name}/**/*") if (folder / STORAGE.name).is_dir() else None

    def open(self, look: Look, source: Any, dictionary: DataDictionary, problems: Problems) -> None:
        placed = _placed(look.path, look.kind, source, Grid.of(dictionary), problems)
        chosen = np.linspace(0, placed.shape[2] - 1, _SLICES).round().astype(int)
        look.show(np.repeat(placed[:, :, chosen, :1].transpose(2, 1, 0, 3), 3, axis=3))
        if look.kind == "dicom":
            import pydicom  # whoever has no new scan need not wait for it

            from foundation.modalities.radiology.dicom_tags import identifying_tags

            first = pydicom.dcmread(files_of(look.path)[0], stop_before_pixels=True)
            look.carries, look.parts = identifying_tags(first), "tags"

    def reader(self, packing: Packing, source: Any) -> Reader:
        grid = Grid.of(packing.dictionary)
        return lambda path, kind: _placed(path, kind, source, grid, packing.problems)[None]


PREPARATION = VolumePreparation()


def _placed(path: Path, kind: str, source: VolumeSource, grid: Grid, problems: Problems) -> NDArray[np.uint8]:
    from foundation.modalities.radiology_volumes.scans import read_volume  # whoever has no new scan need not wait

    volume = read_volume(path, kind, source.channel, problems, source.rescale)
    if kind == "nifti":
        if source.annotations == "leave_out":
            refuse_label_map(path, volume.voxels)
        if grid.windows:
            volume = replace(volume, voxels=where_stored(path, volume.voxels, source.rescale))
    return grid.place(volume)
