"""Pathology in a request: images, or tiles' feature vectors."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foundation.modalities.image_request import MOST_IMAGES, ImagesForm, RequestImages
from foundation.modalities.request import RequestError, RequestForm, read_number, shown

_TOO_LARGE = 413
_LARGEST = 1e6  # no extractor gives more; squares of far more are infinite in single precision


class FeaturesForm(RequestForm):
    """A list of tiles' feature vectors, as the encoder's extractor makes them; or of tiles, where that is at hand.

    Attributes:
        kind: see `RequestForm`.
        dim: numbers a tile.
        size: side in pixels to which the extractor resizes tiles; None where there is none.
        mpp: microns per pixel of tiles as the extractor was trained to see them, which a picture does not tell; None
            where nobody says.
        tile: their side in pixels at `mpp`.
    """

    kind: Literal["features"] = "features"
    dim: int
    size: int | None = None
    mpp: float | None = None
    tile: int | None = None

    def read(self, value: Any, field: str, warnings: list[str]) -> NDArray[np.float32] | RequestImages:
        """Features as float32 `[tiles, dim]`, or images that are decoded where they are looked at."""
        if self.size is not None and isinstance(value, list) and value and isinstance(value[0], str):
            return ImagesForm(size=self.size).read(value, field, warnings)
        if not isinstance(value, list) or not value:
            raise RequestError(field, f"found {shown(value)}", f"give a list of tiles, {self.dim} numbers each")
        if len(value) > MOST_IMAGES:
            raise RequestError(field, f"{len(value)} tiles", f"give at most {MOST_IMAGES}", _TOO_LARGE)
        for index, tile in enumerate(value):
            if not isinstance(tile, list) or len(tile) != self.dim:
                shape = f"{len(tile)} numbers" if isinstance(tile, list) else shown(tile)
                raise RequestError(f"{field}[{index}]", f"found {shape}", f"give {self.dim} numbers")
        numbers = [
            [_feature(number, f"{field}[{index}][{place}]") for place, number in enumerate(tile)]
            for index, tile in enumerate(value)
        ]
        return np.array(numbers, dtype=np.float32)

    def count(self, value: Any) -> int:
        return len(value)

    def write(self, raw: Any) -> list[Any]:
        if len(np.shape(raw[0])) == 3 and self.size is not None:
            return list(ImagesForm(size=self.size).write(raw))
        return [[float(number) for number in tile] for tile in raw]

    def describe(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST}
        tile = {"type": "array", "items": number, "minItems": self.dim, "maxItems": self.dim}
        described = {"type": "array", "minItems": 1, "maxItems": MOST_IMAGES, "items": tile}
        return described if self.size is None else {"oneOf": [described, self._images(self.size)]}

    def _images(self, size: int) -> dict[str, Any]:
        """The schema of raw tiles, with their magnification, which only who cut them knows."""
        images = ImagesForm(size=size).describe()
        if self.mpp is None or self.tile is None:
            return images
        side = f"{self.tile} by {self.tile} pixels at {self.mpp:g} microns per pixel"
        return images | {"description": f"Tiles of {side}; of another magnification they are read wrongly"}


def _feature(number: Any, field: str) -> float:
    value = read_number(number, field)
    if abs(value) > _LARGEST:
        raise RequestError(field, f"found {value:g}", f"give features of at most {_LARGEST:g}, as the extractor does")
    return value


FORM = Annotated[ImagesForm | FeaturesForm, Field(discriminator="kind")]
