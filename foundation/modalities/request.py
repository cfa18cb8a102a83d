"""The request form of a modality: what a request holds of it, and how it becomes what its encoder's transform takes."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from foundation.data.packages import modules
from foundation.errors import UserError

_LARGEST = 3e38  # a model's numbers are in single precision: more is infinite there


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
            UserError: naming the field, for anything that cannot be read.
        """

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
    known = modules("request")
    if modality not in known:
        raise ValueError(f"no modality {modality}; this release knows {', '.join(known)}")
    form: RequestForm = TypeAdapter(known[modality].FORM).validate_python(content)
    return form


def unknown_field(field: str, name: str, known: Iterable[str]) -> UserError:
    """The refusal of a field that nobody reads."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {some_of(list(known))}"
    return UserError(f"{field}: unknown field; {hint}")


def read_number(value: Any, field: str) -> float:
    """A finite number.

    Raises:
        UserError: naming the field, for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST <= value <= _LARGEST:
        raise UserError(f"{field}: found {shown(value)}; give a finite number, or null where it is not known")
    return float(value)


def read_object(value: Any, field: str, known: Iterable[str] | None = None) -> dict[str, Any]:
    """An object of names and values.

    Raises:
        UserError: naming the field, for anything else, or a name that is not among those known.
    """
    if not isinstance(value, dict):
        raise UserError(f"{field}: found {shown(value)}; give an object of names and values")
    for name in value:
        if known is not None and name not in set(known):
            raise unknown_field(f"{field}.{name}", name, known)
    return value


def shown(value: Any) -> str:
    """A value as an error line may show it: short, whatever the sender put there."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 40 else f"{type(value).__name__} {text[:36]}..."


def some_of(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
