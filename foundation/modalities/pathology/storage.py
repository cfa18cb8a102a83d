"""Pathology in a prepared cohort: tiles, uint8 `[tiles, height, width, 3]`, or features `[tiles, dim]` float."""

from foundation.data.storage import ImageStorage

STORAGE = ImageStorage("pathology", order=10, core=True, pictures="thumbnails")
