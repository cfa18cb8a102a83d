"""Quarters of a year, by which answers and outcomes are dated: coarse enough to tell nobody's day."""

import re
import time

from foundation.errors import UserError

_QUARTER = re.compile(r"\d{4}-Q[1-4]")


def quarter_of(text: str | None) -> str:
    """A quarter as it was given, such as `2027-Q3`; today's if None.

    Raises:
        UserError: if it is none.
    """
    if text is None:
        today = time.gmtime()
        return f"{today.tm_year:04d}-Q{(today.tm_mon + 2) // 3}"
    if not _QUARTER.fullmatch(text):
        raise UserError(f"quarter: found {text!r}; give one such as 2027-Q3")
    return text
