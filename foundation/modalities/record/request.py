"""A record in a request: values by column."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from foundation.modalities.request import (
    RequestError,
    RequestForm,
    any_of,
    read_number,
    read_object,
    shown,
    some_of,
)

_FARTHEST = 1000.0  # scales from a column's centre: no unit is off by more, and squares of far more are infinite
_FEWEST = 5  # training patients at or beyond each end of a range that travels: an end must not be one person's value
_MARGIN = 0.1  # of the range's width


class Column(BaseModel):
    """A column of the record; see the data dictionary.

    Attributes:
        seen: of a continuous column, between what the training patients lay: five of them at or beyond each end.
    """

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: Literal["continuous", "categorical"]
    center: float = 0.0
    scale: float = 1.0
    values: list[str] | None = None
    seen: tuple[float, float] | None = None

    def fitted(self, rows: list[Mapping[str, Any]]) -> "Column":
        """The column with the range of training patients' records; without one where too few know it."""
        if self.kind != "continuous":
            return self
        known = np.array([row[self.name] for row in rows if row.get(self.name) is not None], dtype=np.float64)
        known = np.sort(known[np.isfinite(known)])
        if len(known) < 4 * _FEWEST:
            return self
        return self.model_copy(update={"seen": (float(known[_FEWEST - 1]), float(known[-_FEWEST]))})


class ColumnsForm(RequestForm):
    """Typed columns of structured clinical data.

    Attributes:
        kind: see `RequestForm`.
        columns: that the encoder knows.
    """

    kind: Literal["columns"] = "columns"
    columns: list[Column]

    def fitted(self, values: Iterable[Any]) -> "ColumnsForm":
        rows = list(values)
        return self.model_copy(update={"columns": [column.fitted(rows) for column in self.columns]})

    def read(self, value: Any, field: str, warnings: list[str]) -> dict[str, float | str | None]:
        """By column, a number, one of its values, or None where the request says nothing."""
        names = [column.name for column in self.columns]
        content = read_object(value, field, names)
        raw = {
            column.name: _cell(content.get(column.name), column, f"{field}.{column.name}") for column in self.columns
        }
        if all(cell is None for cell in raw.values()):
            raise RequestError(field, "empty", f"give at least one of {some_of(names)}")
        for column in self.columns:
            cell = raw[column.name]
            if column.seen is not None and isinstance(cell, float) and not _near(cell, *column.seen):
                low, high = column.seen
                line = f"{cell:g} lies beyond what training patients had, {low:g} to {high:g}; check value and unit"
                warnings.append(f"{field}.{column.name}: {line}")
        return raw

    def count(self, value: Any) -> int:
        return sum(cell is not None for cell in value.values())

    def places(self, value: Any) -> list[str]:
        return [f".{name}" for name, cell in value.items() if cell is not None]

    def without(self, value: Any, away: Collection[str]) -> dict[str, Any]:
        return {name: cell for name, cell in value.items() if f".{name}" not in away}

    def write(self, raw: Any) -> dict[str, Any]:
        """Columns that are known."""
        return {name: value for name, value in raw.items() if value is not None and value == value}  # NaN is unknown

    def describe(self) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {column.name: _describe(column) for column in self.columns},
            "anyOf": any_of(column.name for column in self.columns),
        }


FORM = ColumnsForm


def _limits(column: Column) -> tuple[float, float]:
    """Between which numbers the encoder computes with a continuous column."""
    reach = _FARTHEST * column.scale
    return column.center - reach, column.center + reach


def _near(value: float, low: float, high: float) -> bool:
    margin = _MARGIN * (high - low)
    return low - margin <= value <= high + margin


def _cell(value: Any, column: Column, field: str) -> float | str | None:
    if value is None:
        return None
    if column.kind == "continuous":
        number, (low, high) = read_number(value, field), _limits(column)
        if not low <= number <= high:
            raise RequestError(field, f"found {shown(value)}", f"give a number from {low:g} to {high:g}")
        return number
    if not isinstance(value, str) or value not in (column.values or []):
        raise RequestError(field, f"found {shown(value)}", f"give one of {some_of(column.values or [])}")
    return value


def _describe(column: Column) -> dict[str, Any]:
    if column.kind == "categorical":
        return {"enum": [*(column.values or []), None]}
    low, high = _limits(column)
    says = "" if column.seen is None else f"training patients: {column.seen[0]:g} to {column.seen[1]:g}"
    number = {"type": ["number", "null"], "minimum": low, "maximum": high}
    return number | ({"description": says} if says else {})
