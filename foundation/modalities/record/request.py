"""A record in a request: values by column."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from foundation.errors import UserError
from foundation.modalities.request import RequestForm, read_number, read_object, shown, some_of


class Column(BaseModel):
    """A column of the record; see the data dictionary."""

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: Literal["continuous", "categorical"]
    values: list[str] | None = None


class ColumnsForm(RequestForm):
    """Typed columns of structured clinical data.

    Attributes:
        kind: see `RequestForm`.
        columns: that the encoder knows.
    """

    kind: Literal["columns"] = "columns"
    columns: list[Column]

    def read(self, value: Any, field: str, warnings: list[str]) -> dict[str, float | str | None]:
        """By column, a number, one of its values, or None where the request says nothing."""
        names = [column.name for column in self.columns]
        content = read_object(value, field, names)
        raw = {
            column.name: _cell(content.get(column.name), column, f"{field}.{column.name}") for column in self.columns
        }
        if all(cell is None for cell in raw.values()):
            raise UserError(f"{field}: empty; give at least one of {some_of(names)}")
        return raw

    def write(self, raw: Any) -> dict[str, Any]:
        """Columns that are known."""
        return {name: value for name, value in raw.items() if value is not None and value == value}  # NaN is unknown

    def describe(self) -> dict[str, Any]:
        properties = {
            column.name: {"type": ["number", "null"]}
            if column.kind == "continuous"
            else {"enum": [*(column.values or []), None]}
            for column in self.columns
        }
        return {"type": "object", "additionalProperties": False, "properties": properties}


FORM = ColumnsForm


def _cell(value: Any, column: Column, field: str) -> float | str | None:
    if value is None:
        return None
    if column.kind == "continuous":
        return read_number(value, field)
    if value not in (column.values or []):
        raise UserError(f"{field}: found {shown(value)}; give one of {some_of(column.values or [])}")
    return str(value)
