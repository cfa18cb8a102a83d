"""The declaration of pathology's files."""

from typing import Literal

from pydantic import Field

from foundation.data.image_source import ImageSource


class TileSource(ImageSource):
    """Slides, regions or tile features.

    Args:
        kind: see `ImageSource`.
        mpp: of tiles cut from slides, microns per pixel.
        slide_mpp: of the slides themselves, where they do not say.
        tile: side of a tile in pixels.
        tissue: least share of a tile that is tissue.
        max_tiles: kept a slide, drawn by seed; all if None.
        seed: of that draw.
    """

    kind: Literal["images", "slides", "features"] | None = None
    mpp: float = Field(0.5, gt=0)
    slide_mpp: float | None = Field(None, gt=0)
    tile: int = Field(256, ge=16)
    tissue: float = Field(0.3, ge=0, le=1)
    max_tiles: int | None = Field(None, ge=1)
    seed: int = 0
