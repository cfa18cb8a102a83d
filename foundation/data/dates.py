"""Dates as tables write them: by declared formats, kept as ISO text."""

import re
from typing import Annotated

import pandas as pd
from pydantic import AfterValidator

ADVICE = "write YYYY-MM-DD, or say date: '%d.%m.%Y' (as it is written) in the column's declaration"
_CODES = re.compile(r"%(.)")
_WHOLE = ({"Y", "y"}, {"m", "b", "B"}, {"d"})  # a year, a month and a day


def _known_codes(pattern: str) -> str:
    codes = set(_CODES.findall(pattern))
    if not (all(codes & part for part in _WHOLE) or {"Y", "j"} <= codes):
        raise ValueError(f"'{pattern}' is no whole date; give year, month and day as in '%d.%m.%Y'")
    return pattern


_Format = Annotated[str, AfterValidator(_known_codes)]
Formats = _Format | list[_Format]


def iso_dates(cells: "pd.Series[str]", formats: Formats) -> "pd.Series[str]":
    """Dates as `YYYY-MM-DD`, with the time after a `T` where a format has one; None where no format fits.

    Args:
        cells: text.
        formats: of strptime; the first that fits counts.
    """
    dates = pd.Series(None, cells.index, dtype=object)
    for pattern in [formats] if isinstance(formats, str) else formats:
        read = pd.to_datetime(cells[dates.isna()], format=pattern, errors="coerce").dropna()
        timed = bool({"H", "I"} & set(_CODES.findall(pattern)))
        dates[read.index] = read.dt.strftime("%Y-%m-%dT%H:%M:%S" if timed else "%Y-%m-%d")
    return dates.where(dates.notna(), None)
