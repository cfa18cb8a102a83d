"""A scan's voxels, and the slices of them that a model sees."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CT_WINDOW = (40.0, 400.0)  # soft tissue
_PERCENTILES = (1.0, 99.0)  # of a scan's voxels that become black and white, where no window holds


@dataclass(frozen=True)
class SliceSettings:
    """Which slices, how bright, how large.

    Args:
        slices: kept a scan, spread evenly over it, first and last included; every one if None.
        side: of a slice, pixels; slices keep their proportions on black.
        window: centre and width in Hounsfield units; None is soft tissue (40, 400) for DICOM CT, percentiles elsewhere.
        channel: of a NIfTI file with four dimensions, counted from 0.
        rescale: slope and intercept of CT whose own are missing or cannot be.
        label_maps: whether masks and segmentations are taken as scans.
    """

    slices: int | None = 8
    side: int = 256
    window: tuple[float, float] | None = None
    channel: int | None = None
    rescale: tuple[float, float] | None = None
    label_maps: bool = False


@dataclass(frozen=True)
class Scan:
    """One scan, slices from feet to head or in the order in which they were taken.

    Attributes:
        voxels: `[slices, rows, columns]` float32 (Hounsfield units for CT), or `[slices, rows, columns, 3]` uint8.
        spacing: millimetres from row to row and from column to column; (1, 1) where unknown.
        window: centre and width that apply; None for percentiles.
        inverted: whether high values are dark.
    """

    voxels: NDArray[np.float32] | NDArray[np.uint8]
    spacing: tuple[float, float] = (1.0, 1.0)
    window: tuple[float, float] | None = None
    inverted: bool = False


@dataclass(frozen=True)
class Volume:
    """One scan in space.

    Attributes:
        voxels: `[right, front, up]` float32, axes next to those of the body.
        affine: `[4, 4]`, from voxels to millimetres to the right, to the front and up.
        spacing: millimetres from voxel to voxel, as the file says.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float]


def to_slices(scan: Scan, settings: SliceSettings) -> NDArray[np.uint8]:
    """The chosen slices, RGB `[slices, side, side, 3]`."""
    chosen = scan.voxels[choose(len(scan.voxels), settings.slices)]
    if chosen.ndim == 3:
        chosen = grey(chosen, *limits(scan.voxels, scan.window))
        chosen = np.repeat((255 - chosen if scan.inverted else chosen)[..., None], 3, axis=3)
    return np.stack([_fit(picture, settings.side, scan.spacing) for picture in chosen])


def limits(voxels: NDArray[Any], window: tuple[float, float] | None) -> tuple[float, float]:
    """Values that become black and white: of a window (centre and width), else percentiles of the scan's voxels."""
    if window is not None:
        return window[0] - window[1] / 2, window[0] + window[1] / 2
    low, high = (float(value) for value in np.percentile(voxels, _PERCENTILES))
    return (low, high) if low < high else (float(voxels.min()), float(voxels.max()))  # a few bright ones on even ground


def grey(voxels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Voxels from black at `low` to white at `high`."""
    return np.asarray(np.round(np.clip((voxels - low) / max(high - low, 1e-6), 0, 1) * 255), dtype=np.uint8)


def choose(count: int, wanted: int | None) -> NDArray[np.intp]:
    """Indices of the slices kept, ascending: all where fewer are there than wanted."""
    if wanted is None or wanted >= count:
        return np.arange(count)
    if wanted == 1:
        return np.array([count // 2])
    return np.linspace(0, count - 1, wanted).round().astype(np.intp)


def fitted(shape: tuple[int, ...], side: int, spacing: tuple[float, float]) -> tuple[int, int, int, int]:
    """Where a picture lies in its true proportions on a square: top, left, height and width, in the square's pixels.

    Args:
        shape: of the picture, rows and columns first.
        side: of the square.
        spacing: millimetres from row to row and from column to column.
    """
    extent = [pixels * step for pixels, step in zip(shape[:2], spacing, strict=True)]
    height, width = (max(round(side * length / max(extent)), 1) for length in extent)
    return (side - height) // 2, (side - width) // 2, height, width


def _fit(picture: NDArray[Any], side: int, spacing: tuple[float, float]) -> NDArray[np.uint8]:
    """In its true proportions on a black square."""
    top, left, height, width = fitted(picture.shape, side, spacing)
    square = np.zeros((side, side, 3), np.uint8)
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    square[top : top + height, left : left + width] = np.asarray(resized)
    return square
