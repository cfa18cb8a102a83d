"""Radiology from a hospital's files: DICOM series and NIfTI volumes as slices, or slices as images.

Usual places: `radiology.csv` (or another form of table) listing `patient_id`, `file`; else `radiology/`: DICOM folders,
NIfTI files.
"""

from pathlib import Path
from typing import Any, Literal, cast

from numpy.typing import NDArray
from pydantic import Field

from foundation.data.dictionary import DataDictionary
from foundation.data.image_files import read_image
from foundation.data.image_looks import Look, files_of
from foundation.data.image_preparation import ImagePreparation, Reader
from foundation.data.image_source import ImageSource
from foundation.data.preparation import Packing
from foundation.data.problems import Problems
from foundation.modalities.radiology.scan import SliceSettings
from foundation.modalities.radiology.slices import Kind, read_slices
from foundation.modalities.radiology.storage import STORAGE


class ScanSource(ImageSource):
    """DICOM series, NIfTI files or slices as images.

    Args:
        kind: see `ImageSource`.
        slices: kept a scan, evenly spread; every one if None.
        side: to which slices are resized.
        window: centre and width in Hounsfield units for CT; percentiles elsewhere.
        rescale: slope and intercept that make Hounsfield units of CT whose own are missing or cannot be.
    """

    kind: Literal["images", "dicom", "nifti"] | None = None
    slices: int | None = Field(8, ge=1)
    side: int = Field(256, ge=16)
    window: tuple[float, float] | None = None
    rescale: tuple[float, float] | None = None


class RadiologyPreparation(ImagePreparation):
    """Slices become rows."""

    storage = STORAGE
    source = ScanSource
    kinds = ("images", "dicom", "nifti")

    def usual_files(self, folder: Path) -> ImageSource | None:
        return ScanSource(files="radiology/**/*") if (folder / "radiology").is_dir() else None

    def open(self, look: Look, source: Any, dictionary: DataDictionary, problems: Problems) -> None:
        look.show(self._slices(look.path, look.kind, source, problems))
        if look.kind == "dicom":
            import pydicom  # whoever has no new scan need not wait for it

            from foundation.modalities.radiology.dicom_tags import identifying_tags

            first = pydicom.dcmread(files_of(look.path)[0], stop_before_pixels=True)
            look.carries, look.parts = identifying_tags(first), "tags"

    def reader(self, packing: Packing, source: Any) -> Reader:
        return lambda path, kind: self._slices(path, kind, source, packing.problems)

    def _slices(self, path: Path, kind: str, source: ScanSource, problems: Problems) -> NDArray[Any]:
        if kind == "images":
            return read_image(path, problems)[None]
        return read_slices(path, cast(Kind, kind), slice_settings(source), problems)


def slice_settings(source: ScanSource) -> SliceSettings:
    """How scans of a source become slices."""
    return SliceSettings(
        slices=source.slices,
        side=source.side,
        window=source.window,
        rescale=source.rescale,
        label_maps=source.annotations == "keep",
    )


PREPARATION = RadiologyPreparation()
