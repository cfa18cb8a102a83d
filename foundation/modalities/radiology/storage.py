"""Radiology in a prepared cohort: slices, uint8 `[slices, height, width, 3]`."""

from foundation.data.storage import ImageStorage

STORAGE = ImageStorage("radiology", order=20, core=True)
