"""Pathology in a request: images, or tiles' feature vectors."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foundation.modalities.image_request import MOST_IMAGES, ImagesForm
from foundation.modalities.request import RequestError, RequestForm, read_number, shown

_TOO_LARGE = 413
_LARGEST = 1e6  # no extractor gives more; squares of far more are infinite in single precision


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

    def write(self, raw: Any) -> list[list[float]]:
        return [[float(number) for number in tile] for tile in raw]

    def describe(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST}
        tile = {"type": "array", "items": number, "minItems": self.dim, "maxItems": self.dim}
        return {"type": "array", "minItems": 1, "maxItems": MOST_IMAGES, "items": tile}


def _feature(number: Any, field: str) -> float:
    value = read_number(number, field)
    if abs(value) > _LARGEST:
        raise RequestError(field, f"found {value:g}", f"give features of at most {_LARGEST:g}, as the extractor does")
    return value


FORM = Annotated[ImagesForm | FeaturesForm, Field(discriminator="kind")]
