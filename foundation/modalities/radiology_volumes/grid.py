"""The grid that every scan of a cohort is brought to: orientation, spacing, size and intensities."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator

from foundation.data.dictionary import DataDictionary
from foundation.modalities.radiology.scan import Volume, grey, limits
from foundation.modalities.radiology_volumes.storage import STORAGE

_FEWEST, _MOST = 8, 1024  # voxels along an axis


class Grid(BaseModel):
    """Voxels along the body's axes (to the right, to the front, up), around the middle of what was scanned.

    Args:
        spacing: millimetres from voxel to voxel.
        shape: voxels; what lies beyond is cut off, what was not scanned is black.
        windows: centre and width, in the scans' own units (Hounsfield units for CT), a channel each; where none is,
            one channel from the 1st to the 99th percentile of each scan.
    """

    model_config = ConfigDict(extra="forbid")

    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0)
    shape: tuple[int, int, int] = (96, 96, 96)
    windows: list[tuple[float, float]] = []

    @field_validator("spacing")
    @classmethod
    def _spacing(cls, spacing: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(0 < step <= 100 for step in spacing):
            raise ValueError("give millimetres above 0")
        return spacing

    @field_validator("shape")
    @classmethod
    def _shape(cls, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(_FEWEST <= side <= _MOST for side in shape):
            raise ValueError(f"give {_FEWEST} to {_MOST} voxels along each axis")
        return shape

    @field_validator("windows")
    @classmethod
    def _windows(cls, windows: list[tuple[float, float]]) -> list[tuple[float, float]]:
        if not all(width > 0 for _, width in windows):
            raise ValueError("a window's width is above 0")
        return windows

    @classmethod
    def of(cls, dictionary: DataDictionary) -> "Grid":
        """As the data dictionary declares it, under `settings.radiology_volumes`."""
        return cls.model_validate(dictionary.settings.get(STORAGE.name, {}))

    @property
    def size(self) -> tuple[int, int, int, int]:
        """Of a scan on the grid: `(right, front, up, channels)`."""
        return (*self.shape, max(len(self.windows), 1))

    def place(self, volume: Volume) -> NDArray[np.uint8]:
        """A scan on the grid, `[right, front, up, channels]`.

        Voxels are interpolated linearly, after smoothing along axes on which the grid is coarser than the scan.
        """
        from scipy import ndimage  # here, for whoever has no new scan need not wait for it

        middle = volume.affine @ np.append((np.array(volume.voxels.shape) - 1) / 2, 1)
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = middle[:3] - np.array(self.spacing) * (np.array(self.shape) - 1) / 2
        back = np.linalg.inv(volume.affine) @ affine
        coarser = np.array(self.spacing) / np.linalg.norm(volume.affine[:3, :3], axis=0)
        smooth = ndimage.gaussian_filter(volume.voxels, np.maximum((coarser - 1) / 2, 0), mode="nearest")
        black = float(volume.voxels.min())
        voxels = ndimage.affine_transform(smooth, back[:3, :3], back[:3, 3], self.shape, order=1, cval=black)
        windows: Sequence[tuple[float, float] | None] = self.windows or [None]
        return np.stack([grey(voxels, *limits(volume.voxels, window)) for window in windows], axis=-1)
