"""Slides and regions for an image encoder: the tiles that `prepare` would cut, straight from the slide."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.data.extraction.contract import InMemory, Pictures, Reading
from foundation.data.image_files import read_image
from foundation.data.problems import DataError, Problems, refuse
from foundation.modalities.pathology.preparation import tile_settings
from foundation.modalities.pathology.slides import Slide, source_files
from foundation.modalities.pathology.tiling import TileSettings, choose_tiles


class SlideTiles(Pictures):
    """Tissue of a slide, tile by tile.

    Args:
        path: of the slide.
        settings: how it is cut.

    Raises:
        DataError: if it cannot be read at that resolution, is smaller than a tile, or shows no tissue.
    """

    def __init__(self, path: Path, settings: TileSettings) -> None:
        self._slide, self._settings = Slide(path, settings.slide_mpp), settings
        try:
            survey, enough, kept = choose_tiles(self._slide, settings)
        except DataError:
            self._slide.close()
            raise
        self.coords = survey.corners[kept]
        mpp = self._slide.mpp * survey.tile / settings.size
        self.facts = {"mpp": mpp, "tile": settings.size, "tile_full_resolution": survey.tile, "slide": path.name}
        self.facts |= {"slide_mpp": self._slide.mpp, "tiles_with_tissue": len(enough)}

    def read(self, start: int, stop: int) -> list[NDArray[np.uint8]]:
        size, mpp = (self._settings.size, self._settings.size), self._settings.mpp
        return [self._slide.read(x, y, size, mpp) for x, y in self.coords[start:stop].tolist()]

    def __exit__(self, *_: object) -> None:
        self._slide.close()


class PathologyReading(Reading):
    """Slides become tiles at the encoder's resolution, or at the declared one; a region is one picture, as it is."""

    def settings(self, source: Any, mpp: float | None, tile: int) -> TileSettings:
        settings = replace(tile_settings(source, source.max_tiles), jpeg_quality=None)  # none is written
        return settings if mpp is None else replace(settings, mpp=mpp, size=tile)

    def files(self, path: Path) -> list[Path]:
        return source_files(path)

    def open(self, path: Path, kind: str, settings: TileSettings, problems: Problems) -> Pictures:
        if kind == "slides":
            return SlideTiles(path, settings)
        if kind == "images":
            return InMemory(read_image(path, problems)[None])
        raise refuse(path, f"{kind} cannot be read here", "declare its kind under sources", field="kind")


READING = PathologyReading()
