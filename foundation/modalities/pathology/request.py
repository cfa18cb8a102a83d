"""Pathology in a request: images, or tiles' feature vectors."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foundation.errors import UserError
from foundation.modalities.image_request import MOST_IMAGES, ImagesForm
from foundation.modalities.request import RequestForm, read_number, shown


class FeaturesForm(RequestForm):
    """A list of tiles' feature vectors, as the encoder's extractor makes them.

    Attributes:
        kind: see `RequestForm`.
        dim: numbers a tile.
    """

    kind: Literal["features"] = "features"
    dim: int

    def read(self, value: Any, field: str, warnings: list[str]) -> NDArray[np.float32]:
        """Features as float32 `[tiles, dim]`."""
        if not isinstance(value, list) or not value:
            raise UserError(f"{field}: found {shown(value)}; give a list of tiles, {self.dim} numbers each")
        if len(value) > MOST_IMAGES:
            raise UserError(f"{field}: {len(value)} tiles; give at most {MOST_IMAGES}")
        for index, tile in enumerate(value):
            if not isinstance(tile, list) or len(tile) != self.dim:
                shape = f"{len(tile)} numbers" if isinstance(tile, list) else shown(tile)
                raise UserError(f"{field}[{index}]: found {shape}; give {self.dim} numbers")
        numbers = [
            [read_number(number, f"{field}[{index}][{place}]") for place, number in enumerate(tile)]
            for index, tile in enumerate(value)
        ]
        return np.array(numbers, dtype=np.float32)

    def write(self, raw: Any) -> list[list[float]]:
        return [[float(number) for number in tile] for tile in raw]

    def describe(self) -> dict[str, Any]:
        tile = {"type": "array", "items": {"type": "number"}, "minItems": self.dim, "maxItems": self.dim}
        return {"type": "array", "minItems": 1, "items": tile}


FORM = Annotated[ImagesForm | FeaturesForm, Field(discriminator="kind")]
