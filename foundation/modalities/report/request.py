"""A report in a request: its text."""

import re
from collections.abc import Collection
from typing import Any, Literal

from foundation.modalities.request import RequestError, RequestForm, shown

_LONGEST = 250_000  # characters: a hundred pages
_TOO_LARGE = 413
_SENTENCE = re.compile(r"[^\s.!?](?:[^.!?\n]|[.!?](?=\S))*[.!?]*")


class TextForm(RequestForm):
    """Free text."""

    kind: Literal["text"] = "text"

    def read(self, value: Any, field: str, warnings: list[str]) -> str:
        """The text itself."""
        if not isinstance(value, str) or not value.strip():
            raise RequestError(field, f"found {shown(value)}", "give the report's text, or leave the field out")
        if len(value) > _LONGEST:
            raise RequestError(field, f"{len(value)} characters", f"give at most {_LONGEST}", _TOO_LARGE)
        return value

    def places(self, value: Any) -> list[str]:
        """Sentences and lines, as ranges of characters."""
        return [f"[{found.start()}:{found.end()}]" for found in _SENTENCE.finditer(value)]

    def without(self, value: Any, away: Collection[str]) -> str:
        kept = (found[0] for found in _SENTENCE.finditer(value) if f"[{found.start()}:{found.end()}]" not in away)
        return " ".join(kept)

    def write(self, raw: Any) -> str:
        return str(raw)

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"\S", "maxLength": _LONGEST}


FORM = TextForm
