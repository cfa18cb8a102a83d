"""Radiology in a prepared cohort: slices, uint8 `[slices, height, width, 3]`."""

from foundation.data.storage import ImageStorage


class RadiologyStorage(ImageStorage):
    """A row a slice."""

    name = "radiology"
    order = 20
    core = True


STORAGE = RadiologyStorage()
