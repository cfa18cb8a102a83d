"""Typed fields for what others ask: numbers within a range, names of a pattern, and nothing that could be run.

No field is free text, a path, a dotted name or an interpolation. What a site does with a name is to compare it.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundation.errors import UserError

LONGEST = 1 << 21  # characters of a plan or of an order's header

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Dropout = Annotated[float, Field(ge=0, le=0.95)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
# Words or initials; between them a space, one of +&-', or a dot with a space (os.system is no place), or a word in
# brackets: names of places, and nothing that calls.
_WORD = r"(?:\w\.)*\w+"
Hospital = Annotated[str, Field(pattern=rf"^{_WORD}(?:(?:\. | ?[+&-] ?| |'| \(){_WORD}\)?)*\.?$", max_length=100)]
Group = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,79}(:[A-Za-z_][A-Za-z0-9_]{0,79})?$")]
Pattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.*:-]{1,300}$")]  # of parameters' names; * alone is a wildcard
Release = Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+-]{0,39}$")]
RunName = Annotated[str, Field(pattern=r"^[0-9a-z][0-9a-z-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Kinds of faults of which pydantic speaks without quoting what it found.
_PLAIN = frozenset(
    [
        *("missing", "literal_error", "string_pattern_mismatch", "finite_number", "value_error"),
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "too_long", "too_short"),
        *("int_type", "float_type", "bool_type", "string_type", "dict_type", "tuple_type", "model_type"),
    ]
)


class UnfitPlanError(UserError):
    """What came is no plan or order of this contract; the line names a field of ours, and quotes nothing of theirs."""


class Part(BaseModel):
    """A part of a plan: a field that nobody reads is refused, and no value is turned into another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def read(cls, content: Any, what: str = "plan", ours: bool = False) -> Self:
        """Plain values, as JSON has them.

        Args:
            content: of it.
            what: it is, for the error.
            ours: whether the content is this place's own, so that an error may repeat its names.

        Raises:
            UnfitPlanError: naming the field.
        """
        try:
            text = json.dumps(content, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise UnfitPlanError(f"{what}: holds a value that JSON has no word for") from error
        return cls.read_text(text, what, ours)

    @classmethod
    def read_text(cls, text: str, what: str = "plan", ours: bool = False) -> Self:
        """The same from JSON.

        Raises:
            UnfitPlanError: naming the field.
        """
        if len(text) > LONGEST:
            raise UnfitPlanError(f"{what}: longer than {LONGEST} characters")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UnfitPlanError(f"{what}: {_first_fault(error, ours)}") from error

    def text(self) -> str:
        """As it travels: JSON, with the fields that were set."""
        return self.model_dump_json(exclude_unset=True)

    def values(self) -> dict[str, Any]:
        """The fields that were set, as plain values."""
        values: dict[str, Any] = json.loads(self.text())
        return values


def _first_fault(error: ValidationError, ours: bool) -> str:
    """The first fault by the names of our own fields; a key that came with a message is not repeated."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    known = _known()
    place = [part if ours or isinstance(part, int) or part in known else "a name" for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        place[-1] = place[-1] if ours else "a field"
        return f"{'.'.join(map(str, place))}: not known to this release's plans"
    text = first["msg"] if ours or first["type"] in _PLAIN else "not what this release's plans know here"
    return f"{'.'.join(map(str, place)) or 'text'}: {text}"


def _known() -> set[str]:
    """Names of all fields of all parts."""
    names: set[str] = set()
    pending: list[type[Part]] = [Part]
    while pending:
        kind = pending.pop()
        names |= kind.model_fields.keys()
        pending += kind.__subclasses__()
    return names


def only(content: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Those of some keys that a config holds."""
    return {key: content[key] for key in keys if key in content}
