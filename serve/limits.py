"""Whether the limits that a user sets are numbers a program can hold to."""

import math
from typing import Any

from foundation.errors import UserError


def check_counts(**values: Any) -> None:
    """Refuses what is no whole number above 0.

    Raises:
        UserError: naming the first.
    """
    check_above_zero(**values)
    for name, value in values.items():
        if not isinstance(value, int):
            raise UserError(f"{name}: found {value}; give a whole number")


def check_above_zero(**values: Any) -> None:
    """Refuses what is no finite number above 0, with which every request would fail at once or wait for ever.

    Raises:
        UserError: naming the first.
    """
    for name, value in values.items():
        if not _is_number(value) or value <= 0:
            raise UserError(f"{name}: found {value}; give more than 0")


def check_at_least_zero(**values: Any) -> None:
    """Refuses what is no finite number, or one below 0.

    Raises:
        UserError: naming the first.
    """
    for name, value in values.items():
        if not _is_number(value) or value < 0:
            raise UserError(f"{name}: found {value}; give 0 or more")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
