"""The request form of a modality: what a request holds of it, and how it becomes what its encoder's transform takes."""

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from foundation.data.packages import paths_of
from foundation.errors import UserError

LARGEST = 3e38  # a model's numbers are in single precision: more is infinite there
_SHOWN = 40  # characters of a sender's value in an error
UNREADABLE = 422  # HTTP: well-formed, and no content that the model can take


class RequestError(UserError):
    """The refusal of one request, in the parts that a client may act on.

    Args:
        field: where, such as `record.age` or `pathology[3]`.
        reason: what is wrong there.
        remedy: what to send instead.
        status: of HTTP.
    """

    def __init__(self, field: str, reason: str, remedy: str, status: int = UNREADABLE) -> None:
        super().__init__(f"{field}: {reason}; {remedy}")
        self.field = field
        self.reason = reason
        self.remedy = remedy
        self.status = status


class RequestForm(BaseModel, ABC):
    """One modality's part of a request, as a bundle's `schema.json` holds it.

    Attributes:
        kind: of the form; which one it is where a modality has several.
    """

    model_config = ConfigDict(extra="forbid")

    kind: str

    @abstractmethod
    def read(self, value: Any, field: str, warnings: list[str]) -> Any:
        """The raw value that the encoder's transform takes.

        Args:
            value: of the request, decoded from JSON.
            field: its name, for errors.
            warnings: takes what was left out, one line each.

        Raises:
            RequestError: naming the field, for anything that cannot be read.
        """

    def fitted(self, values: Iterable[Any]) -> "RequestForm":
        """The form with what the training patients showed, where it holds requests against that.

        Args:
            values: raw, a training patient's each.
        """
        return self

    def count(self, value: Any) -> int | None:
        """How many parts a readable value was sent in, such as images or genes; None where the encoder counts them."""
        return None

    def places(self, value: Any) -> list[str]:
        """Where in a readable value its parts are, such as `[3]` or `.age`; none where it is one piece."""
        return [f"[{index}]" for index in range(len(value))] if isinstance(value, list) else []

    def without(self, value: Any, away: Collection[str]) -> Any:
        """A readable value without some of its parts.

        Args:
            value: of the request.
            away: of its `places`, not all.
        """
        return [part for index, part in enumerate(value) if f"[{index}]" not in away]

    def covered(self, value: Any, place: str, side: int) -> list[Any]:
        """A readable value with an image of it at the encoder's size, and for each square of that once more, covered.

        Args:
            value: of the request.
            place: of the image.
            side: squares along each side; they come row by row.

        Returns:
            Nothing where the place is of no image.
        """
        return []

    @abstractmethod
    def write(self, raw: Any) -> Any:
        """The way back: a raw value, as a cohort gives it, as JSON that says the same."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """This part of a request as JSON Schema."""


def read_form(modality: str, content: Any) -> RequestForm:
    """A form from the schema of a bundle.

    Raises:
        ValidationError: if it is none of the modality's.
        ValueError: if there is no such modality.
    """
    known = paths_of("request")
    if modality not in known:
        raise ValueError(f"no modality {modality}; this release knows {', '.join(known)}")
    form: RequestForm = TypeAdapter(import_module(known[modality]).FORM).validate_python(content)
    return form


def unknown_field(field: str, name: str, known: Iterable[str]) -> RequestError:
    """The refusal of a field that nobody reads."""
    near = difflib.get_close_matches(name[:_SHOWN], list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {some_of(list(known))}"
    return RequestError(field_name(field), "unknown field", hint)


def read_number(value: Any, field: str) -> float:
    """A finite number.

    Raises:
        RequestError: naming the field, for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise RequestError(field, f"found {shown(value)}", "give a finite number, or null where it is not known")
    return float(value)


def read_object(value: Any, field: str, known: Iterable[str] | None = None) -> dict[str, Any]:
    """An object of names and values.

    Raises:
        RequestError: naming the field, for anything else, or a name that is not among those known.
    """
    if not isinstance(value, dict):
        raise RequestError(field, f"found {shown(value)}", "give an object of names and values")
    for name in value:
        if known is not None and name not in set(known):
            raise unknown_field(f"{field}.{name}", name, known)
    return value


def shown(value: Any) -> str:
    """A value as an error line may show it: short, whatever the sender put there."""
    if value is None:
        return "nothing"
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return f"an integer of {_digits(value)} digits"  # Python writes none of more than 4300
    text = repr(value[:_SHOWN] if isinstance(value, str | list) else value)
    whole = len(text) <= _SHOWN and (not isinstance(value, str | list) or len(value) <= _SHOWN)
    return text if whole else f"{type(value).__name__} {text[: _SHOWN - 4]}..."


def any_of(names: Iterable[str]) -> list[dict[str, Any]]:
    """JSON Schemas of which an object fits one that says something under any of these names; null says nothing."""
    return [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names]


def field_name(name: str) -> str:
    """A field's name as an error may show it: names, too, are the sender's, and may be long."""
    return name if len(name) <= 4 * _SHOWN else f"{name[: 4 * _SHOWN]}..."


def some_of(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _digits(value: int) -> int:
    """Decimal digits of an integer, give or take one."""
    return int(abs(value).bit_length() * math.log10(2)) + 1
