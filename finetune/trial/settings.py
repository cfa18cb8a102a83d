"""Settings of a tool as numbers, counts and names: one line of error names the one that cannot be."""

import math
from collections.abc import Callable, Iterable

from foundation.errors import UserError


def number(setting: str, value: object, wanted: str, allowed: Callable[[float], bool]) -> float:
    """A finite number within its range.

    Args:
        setting: as it is typed, for the error.
        value: of it.
        wanted: what to give, for the error.
        allowed: the range.

    Raises:
        UserError: if it is no number, or another one.
    """
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not math.isfinite(value) or not allowed(float(value)):  # type: ignore[arg-type]
        raise UserError(f"{setting}: found {value}; give {wanted}")
    return float(value)  # type: ignore[arg-type]


def count(setting: str, value: object, least: int) -> int:
    """A whole number from the least one on.

    Raises:
        UserError: if it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{setting}: found {value}; give a count from {least}")
    return value


def days(setting: str, value: object) -> float:
    """A length of time."""
    return number(setting, value, "days, above 0", lambda one: one > 0)


def ascending_days(setting: str, values: object, usual: Iterable[float]) -> list[float]:
    """Several of them, such as horizons of survival; the usual ones if None."""
    return sorted({days(setting, value) for value in listed(setting, values, usual)})


def listed(setting: str, values: object, usual: Iterable[object]) -> list[object]:
    """The items of a list, each once; the usual ones if None.

    Raises:
        UserError: if it is no list, an empty one, or names something twice.
    """
    if values is None:
        return list(usual)
    if not isinstance(values, list | tuple) or not values:
        raise UserError(f"{setting}: found {values}; give a list of at least one in brackets, or null")
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise UserError(f"{setting}: names {twice} twice; name each once")
    return list(values)


def names(setting: str, values: object, usual: Iterable[str]) -> list[str]:
    """The same of names."""
    return [str(value) for value in listed(setting, values, usual)]
