"""The declaration of radiology's files."""

from typing import Literal

from pydantic import Field

from foundation.data.image_source import ImageSource


class ScanSource(ImageSource):
    """DICOM series, NIfTI files or slices as images.

    Args:
        kind: see `ImageSource`.
        slices: kept a scan, evenly spread; every one if None.
        side: to which slices are resized.
        window: centre and width in Hounsfield units for CT; percentiles elsewhere.
    """

    kind: Literal["images", "dicom", "nifti"] | None = None
    slices: int | None = Field(8, ge=1)
    side: int = Field(256, ge=16)
    window: tuple[float, float] | None = None
