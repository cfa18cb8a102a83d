"""A report in a request: its text."""

from typing import Any, Literal

from foundation.errors import UserError
from foundation.modalities.request import RequestForm, shown

_LONGEST = 1_000_000


class TextForm(RequestForm):
    """Free text."""

    kind: Literal["text"] = "text"

    def read(self, value: Any, field: str, warnings: list[str]) -> str:
        """The text itself."""
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{field}: found {shown(value)}; give the report's text, or leave the field out")
        if len(value) > _LONGEST:
            raise UserError(f"{field}: {len(value)} characters; give at most {_LONGEST}")
        return value

    def write(self, raw: Any) -> str:
        return str(raw)

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


FORM = TextForm
