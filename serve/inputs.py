"""What a modality looks like in a request, and how it becomes the raw value that the encoder's transform takes."""

import base64
import binascii
import difflib
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional

from foundation.data.problems import DataError
from foundation.data.units import check_unit, convert
from foundation.errors import UserError
from foundation.modalities.base import Modality
from foundation.modalities.features import TileFeatures
from foundation.modalities.genomics import CHANNELS, Genomics
from foundation.modalities.images import ImageSet
from foundation.modalities.record import Record
from foundation.modalities.report import Report

_LARGEST_SIDE = 8192
_MOST_IMAGES = 4096
_LONGEST_TEXT = 1_000_000


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ImagesSpec(_Spec):
    """A list of base64 PNG or JPEG images.

    Attributes:
        size: side in pixels that the encoder resizes to.
    """

    kind: Literal["images"] = "images"
    size: int

    def read(self, value: Any, field: str, warnings: list[str]) -> NDArray[np.uint8]:
        """Images as uint8 `[images, height, width, 3]`.

        Raises:
            UserError: naming the field, for anything that is no list of readable images.
        """
        if not isinstance(value, list) or not value:
            raise UserError(f"{field}: found {_said(value)}; give a list of base64 PNG or JPEG images")
        if len(value) > _MOST_IMAGES:
            raise UserError(f"{field}: {len(value)} images; give at most {_MOST_IMAGES}")
        images = [_decode_image(image, f"{field}[{index}]") for index, image in enumerate(value)]
        if len({image.shape for image in images}) > 1:
            images = [_resize(image, self.size) for image in images]
        return np.stack(images)

    def describe(self) -> dict[str, Any]:
        """This input as JSON Schema."""
        item = {"type": "string", "contentEncoding": "base64", "description": "PNG or JPEG"}
        return {"type": "array", "minItems": 1, "items": item}


class FeaturesSpec(_Spec):
    """A list of tiles' feature vectors, as the encoder's extractor makes them.

    Attributes:
        dim: numbers a tile.
    """

    kind: Literal["features"] = "features"
    dim: int

    def read(self, value: Any, field: str, warnings: list[str]) -> NDArray[np.float32]:
        """Features as float32 `[tiles, dim]`.

        Raises:
            UserError: naming the field, for anything that is no list of vectors of `dim` finite numbers.
        """
        if not isinstance(value, list) or not value:
            raise UserError(f"{field}: found {_said(value)}; give a list of tiles, {self.dim} numbers each")
        if len(value) > _MOST_IMAGES:
            raise UserError(f"{field}: {len(value)} tiles; give at most {_MOST_IMAGES}")
        for index, tile in enumerate(value):
            if not isinstance(tile, list) or len(tile) != self.dim:
                found = f"{len(tile)} numbers" if isinstance(tile, list) else _said(tile)
                raise UserError(f"{field}[{index}]: found {found}; give {self.dim} numbers")
        numbers = [
            [_number(number, f"{field}[{index}][{place}]") for place, number in enumerate(tile)]
            for index, tile in enumerate(value)
        ]
        return np.array(numbers, dtype=np.float32)

    def describe(self) -> dict[str, Any]:
        """This input as JSON Schema."""
        tile = {"type": "array", "items": {"type": "number"}, "minItems": self.dim, "maxItems": self.dim}
        return {"type": "array", "minItems": 1, "items": tile}


class GenesSpec(_Spec):
    """Expression, mutations and copy number by gene symbol.

    Attributes:
        genes: symbols that the encoder knows, in its order.
        unit: of expression that the encoder takes; a request declares its own, which must be this or convert exactly.
    """

    kind: Literal["genes"] = "genes"
    genes: list[str]
    unit: str

    def read(self, value: Any, field: str, warnings: list[str]) -> dict[str, NDArray[np.float32]]:
        """By channel, float32 `[genes]`, NaN where the request says nothing.

        Raises:
            UserError: naming the field, for a unit that does not convert, a value that is no number, or no known gene.
        """
        given = _object(value, field, ("unit", *CHANNELS))
        measured = {channel: _object(given[channel], f"{field}.{channel}") for channel in CHANNELS if channel in given}
        if not any(measured.values()):
            raise UserError(f"{field}: no measurements; give at least one of {', '.join(CHANNELS)} by gene symbol")
        unit = given.get("unit")
        if measured.get("expression") and not isinstance(unit, str):
            raise UserError(
                f"{field}.unit: found {_said(unit)}; say the unit of expression, {self.unit!r} if it is that"
            )
        position = {gene: index for index, gene in enumerate(self.genes)}
        raw = {channel: np.full(len(self.genes), np.nan, dtype=np.float32) for channel in CHANNELS}
        unknown: set[str] = set()
        for channel, values in measured.items():
            for gene, number in values.items():
                if gene not in position:
                    unknown.add(gene)
                elif number is not None:
                    raw[channel][position[gene]] = _gene_value(number, channel, f"{field}.{channel}.{gene}")
        if all(np.isnan(channel).all() for channel in raw.values()):
            raise UserError(f"{field}: no measured gene is known to the model; it knows {_some(self.genes)}")
        if isinstance(unit, str) and not np.isnan(raw["expression"]).all():
            raw["expression"] = self._converted(raw["expression"], unit, f"{field}.unit")
        if unknown:
            warnings.append(
                f"{field}: {len(unknown)} genes unknown to the model were left out: {_some(sorted(unknown))}"
            )
        return raw

    def _converted(self, values: NDArray[np.float32], unit: str, field: str) -> NDArray[np.float32]:
        profile = pd.DataFrame(values[None], columns=self.genes)
        wrong = [problem for problem in check_unit(profile, unit, Path(field)) if problem.severity == "error"]
        if wrong:
            raise DataError(wrong[0])
        converted: NDArray[np.float32] = convert(profile, unit, self.unit, Path(field)).to_numpy(np.float32)[0]
        return converted

    def describe(self) -> dict[str, Any]:
        """This input as JSON Schema."""
        by_gene = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
        unit = {"type": "string", "description": f"of expression; the model works in {self.unit}"}
        properties = {"unit": unit, **dict.fromkeys(CHANNELS, by_gene)}
        return {"type": "object", "additionalProperties": False, "properties": properties}


class TextSpec(_Spec):
    """Free text."""

    kind: Literal["text"] = "text"

    def read(self, value: Any, field: str, warnings: list[str]) -> str:
        """The text itself.

        Raises:
            UserError: naming the field, if it is no text or an empty one.
        """
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{field}: found {_said(value)}; give the report's text, or leave the field out")
        if len(value) > _LONGEST_TEXT:
            raise UserError(f"{field}: {len(value)} characters; give at most {_LONGEST_TEXT}")
        return value

    def describe(self) -> dict[str, Any]:
        """This input as JSON Schema."""
        return {"type": "string", "minLength": 1}


class Column(_Spec):
    """A column of the record; see the data dictionary."""

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: Literal["continuous", "categorical"]
    values: list[str] | None = None


class ColumnsSpec(_Spec):
    """Typed columns of structured clinical data."""

    kind: Literal["columns"] = "columns"
    columns: list[Column]

    def read(self, value: Any, field: str, warnings: list[str]) -> dict[str, float | str | None]:
        """By column, a number, one of its values, or None where the request says nothing.

        Raises:
            UserError: naming the field, for an unknown column or value.
        """
        given = _object(value, field, [column.name for column in self.columns])
        raw = {column.name: _cell(given.get(column.name), column, f"{field}.{column.name}") for column in self.columns}
        if all(cell is None for cell in raw.values()):
            raise UserError(f"{field}: empty; give at least one of {_some([column.name for column in self.columns])}")
        return raw

    def describe(self) -> dict[str, Any]:
        """This input as JSON Schema."""
        properties = {
            column.name: {"type": ["number", "null"]}
            if column.kind == "continuous"
            else {"enum": [*(column.values or []), None]}
            for column in self.columns
        }
        return {"type": "object", "additionalProperties": False, "properties": properties}


Spec = Annotated[ImagesSpec | FeaturesSpec | GenesSpec | TextSpec | ColumnsSpec, Field(discriminator="kind")]


def spec_of(modality: Modality, unit: str) -> Spec:
    """What a request must hold for a modality of a trained encoder."""
    if isinstance(modality, ImageSet):
        return ImagesSpec(size=modality.size)
    if isinstance(modality, TileFeatures):
        return FeaturesSpec(dim=modality.dim)
    if isinstance(modality, Genomics):
        return GenesSpec(genes=modality.genes, unit=unit)
    if isinstance(modality, Report):
        return TextSpec()
    if isinstance(modality, Record):
        return ColumnsSpec(columns=[Column.model_validate(column) for column in modality.columns])
    raise UserError(f"encoder: modality {type(modality).__name__} has no request form; add one to serve/inputs.py")


def unknown_field(field: str, name: str, known: Iterable[str]) -> UserError:
    """The refusal of a field that nobody reads."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {_some(list(known))}"
    return UserError(f"{field}: unknown field; {hint}")


def _decode_image(value: Any, field: str) -> NDArray[np.uint8]:
    if not isinstance(value, str):
        raise UserError(f"{field}: found {_said(value)}; give a PNG or JPEG image as base64 text")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{field}: not base64 ({error}); encode the bytes of a PNG or JPEG file") from error
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if max(image.size) > _LARGEST_SIDE:
                raise UserError(f"{field}: {image.width}x{image.height} pixels; give sides of at most {_LARGEST_SIDE}")
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{field}: {len(data)} bytes that are no readable PNG or JPEG image; save it anew") from error


def _resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """One image to the encoder's side, the way its own transform does it: needed to stack images of several sizes."""
    pixels = torch.tensor(image).permute(2, 0, 1)[None].float()
    small = functional.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    return small[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def _gene_value(number: Any, channel: str, field: str) -> float:
    value = _number(number, field)
    if channel == "mutations" and value not in (0, 1):
        raise UserError(f"{field}: found {number!r}; a mutation is 1 (found), 0 (looked for, not found) or null")
    return value


def _cell(value: Any, column: Column, field: str) -> float | str | None:
    if value is None:
        return None
    if column.kind == "continuous":
        return _number(value, field)
    if value not in (column.values or []):
        raise UserError(f"{field}: found {_said(value)}; give one of {_some(column.values or [])}")
    return str(value)


def _number(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{field}: found {_said(value)}; give a finite number, or null where it is not known")
    return float(value)


def _object(value: Any, field: str, known: Iterable[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{field}: found {_said(value)}; give an object of names and values")
    for name in value:
        if known is not None and name not in set(known):
            raise unknown_field(f"{field}.{name}", name, known)
    return value


def _said(value: Any) -> str:
    """A value as an error line may show it: short, whatever the sender put there."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 40 else f"{type(value).__name__} {text[:36]}..."


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
