"""The survey of a slide: the places of its tiles, and how much tissue each holds."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from foundation.data.problems import refuse
from foundation.modalities.pathology.slides import Slide
from foundation.modalities.pathology.tissue import tissue_mask

_MPP, _SIDE = 8.0, 4096  # of the thumbnail: fine enough to see tissue, small enough to hold in memory


@dataclass(frozen=True)
class TileSurvey:
    """A slide seen from afar, with all whole tiles of a grid laid over it.

    Attributes:
        picture: the thumbnail, RGB `[height, width, 3]` uint8.
        scale: full-resolution pixels a pixel of it.
        tile: side of a tile, full-resolution pixels.
        corners: upper left ones `[tiles, 2]` (x, y), full-resolution pixels, row by row.
        tissue: share of each tile `[tiles]`.
    """

    picture: NDArray[np.uint8]
    scale: float
    tile: float
    corners: NDArray[np.int64]
    tissue: NDArray[np.float64]

    @classmethod
    def of(cls, slide: Slide, tile: float) -> "TileSurvey":
        """Looks at `slide`; `tile` is a side in full-resolution pixels.

        Raises:
            DataError: if the slide is smaller than one tile.
        """
        columns, rows = (math.floor(side / tile + 1e-6) for side in slide.dimensions)
        if not columns or not rows:
            width, height = slide.dimensions
            finding = f"smaller ({width} by {height} pixels) than one tile ({tile:.0f} pixels)"
            raise refuse(slide.path, finding, "lower tile or mpp, or leave it out", field="dimensions")
        mpp = min(_MPP, tile * slide.mpp / 8)
        mpp = max(mpp, slide.mpp, max(slide.dimensions) * slide.mpp / _SIDE)
        picture, scale = slide.thumbnail(mpp), slide.scale(mpp)
        mask = tissue_mask(picture, mpp)
        starts = [np.arange(count + 1) * tile for count in (columns, rows)]
        x, y = np.meshgrid(*(np.round(start[:-1]).astype(np.int64) for start in starts))
        left, top = (
            np.clip(np.round(start / scale).astype(np.int64), 0, side)
            for start, side in zip(starts, (mask.shape[1], mask.shape[0]), strict=True)
        )
        summed = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0)))[np.ix_(top, left)]
        tissue = np.diff(np.diff(summed, axis=0), axis=1) / np.maximum(np.outer(np.diff(top), np.diff(left)), 1)
        return cls(picture, scale, tile, np.stack([x.ravel(), y.ravel()], 1), tissue.ravel())

    def outlined(self, kept: NDArray[np.intp]) -> Image.Image:
        """The thumbnail with the kept tiles drawn."""
        image = Image.fromarray(self.picture)
        pen = ImageDraw.Draw(image)
        for x, y in (self.corners[kept] / self.scale).tolist():
            far = self.tile / self.scale
            pen.rectangle((round(x), round(y), round(x + far) - 1, round(y + far) - 1), outline=(0, 110, 60))
        return image


def draw(tiles: NDArray[np.intp], most: int | None, seed: int, name: str) -> NDArray[np.intp]:
    """At most `most` of the tiles, in their order; by seed and name, lest all slides be drawn at the same places."""
    if most is None or len(tiles) <= most:
        return tiles
    name_seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.sort(np.random.default_rng([seed, name_seed]).choice(tiles, most, replace=False))
