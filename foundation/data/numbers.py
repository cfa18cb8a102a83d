"""Numbers as tables write them: exact, or none; and cells that may be read as one of two numbers."""

import re
from typing import Any, Literal

import numpy as np
import pandas as pd

_PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:inf|infinity)")
# What is no code: neither 0081 nor 1E3, nor an identifier of more digits than a float holds.
_NO_CODE = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]{0,14})(?:\.[0-9]*)?|\.[0-9]+|[0-9]\.[0-9]+[eE][+-]?[0-9]+)")
_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+")
_BOUND = re.compile(r"(?:(?P<sign><=|>=|=<|=>|[<>≤≥])\s*(?P<beyond>.+?)|(?P<over>.+?)\s*\+)")
_SPACES = " \u00a0\u2007\u2009\u202f"
_BOOLEANS = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}
Rule = Literal["limit", "half", "missing"]


def number(cell: Any, decimal: str = ".", thousands: str | None = None) -> float:
    """A cell's number; NaN where it is none.

    Args:
        cell: text or a number.
        decimal: sign between whole and fraction.
        thousands: sign between groups of three digits, where there may be one; a blank stands for every kind of blank.
    """
    if not isinstance(cell, str):
        return float(cell) if isinstance(cell, int | float | np.number | np.bool_) else np.nan
    text = cell.strip()
    if thousands is not None:
        sign = f"[{_SPACES}]" if thousands == " " else re.escape(thousands)
        if re.fullmatch(rf"[+-]?[0-9]{{1,3}}(?:{sign}[0-9]{{3}})+(?:{re.escape(decimal)}[0-9]*)?", text):
            text = re.sub(sign, "", text)
    if decimal != ".":
        if "." in text:
            return np.nan
        text = text.replace(decimal, ".", 1)
    return float(text) if _PLAIN.fullmatch(text) else np.nan


def numbers(cells: "pd.Series[Any]", decimal: str = ".", thousands: str | None = None) -> "pd.Series[float]":
    """Each cell's number, NaN where it is missing or none; `True` and `False` are 1 and 0 in a column of nothing else.

    Whole numbers stay such where no cell is missing.
    """
    if pd.api.types.is_numeric_dtype(cells):
        return cells.astype(float) if cells.dtype == bool else cells
    known = cells.dropna()
    if len(known) and known.map(lambda cell: isinstance(cell, bool) or cell in _BOOLEANS).all():
        return cells.map(lambda cell: _BOOLEANS[str(cell)], na_action="ignore").astype(float)
    values = cells.map(lambda cell: number(cell, decimal, thousands), na_action="ignore").astype(float)
    whole = len(known) == len(cells) and known.map(lambda cell: _INTEGER.fullmatch(str(cell).strip()) is not None).all()
    return values.astype(np.int64) if whole and len(cells) else values


def numbers_or_text(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers where every cell is plainly one, else the cells as they stand: `0081` and `1E3` may be codes."""
    if cells.dtype != object:
        return cells
    known = cells.dropna()
    if not len(known) or not known.map(lambda cell: not isinstance(cell, str) or _plain(cell)).all():
        return cells
    return numbers(cells)


def ambiguous(cells: "pd.Series[Any]") -> "tuple[pd.Series[bool], bool]":
    """Cells such as `1.460`, which may be 1.46 or 1460, where no other cell of the column shows what the point is.

    Returns:
        Which; and whether the others are whole numbers, so that a decimal point would stand alone among them.
    """
    text = cells.map(lambda cell: cell.strip() if isinstance(cell, str) else None)
    grouped = text.map(lambda cell: _GROUPED.fullmatch(cell) is not None, na_action="ignore").eq(True)
    others = text[~grouped].dropna()
    if not grouped.any() or others.map(shows_point).any():
        return grouped & False, False
    return grouped, bool(others.map(lambda cell: _INTEGER.fullmatch(cell) is not None).any())


def shows_point(cell: Any) -> bool:
    """Whether a cell is a number in which a point can only be the decimal sign."""
    return (
        isinstance(cell, str)
        and "." in cell
        and _PLAIN.fullmatch(cell.strip()) is not None
        and _GROUPED.fullmatch(cell.strip()) is None
    )


def bounded(cell: Any, rule: Rule, decimal: str = ".", thousands: str | None = None) -> Any:
    """What stands for a bound: `> 89` and `89+` are 89 by `limit`; `<0.01` is 0.005 by `half`, 0.01 by `limit`.

    Any other cell is given back as it is.
    """
    match = _BOUND.fullmatch(cell.strip()) if isinstance(cell, str) else None
    if match is None:
        return cell
    limit = number(match["beyond"] or match["over"], decimal, thousands)
    if np.isnan(limit):
        return cell
    if rule == "missing":
        return None
    below = (match["sign"] or "") in ("<", "<=", "=<", "≤")
    return limit / 2 if rule == "half" and below else limit


def is_bound(cell: Any) -> bool:
    """Whether a cell says on which side of a number a value lies."""
    return bounded(cell, "missing") is None and cell is not None


def _plain(cell: str) -> bool:
    return _NO_CODE.fullmatch(cell.strip()) is not None
