"""A column's declaration, and the column read by it: codes translated, unknown cells missing, numbers exact."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from foundation.data.dates import Formats, iso_dates
from foundation.data.delimited import AMBIGUOUS, AMBIGUOUS_ADVICE
from foundation.data.dialect import Dialect
from foundation.data.numbers import Rule, ambiguous, bounded, is_bound, numbers, numbers_or_text, shows_point
from foundation.data.problems import Problems, refuse
from foundation.data.strict import WHOLE, Strict, Word
from foundation.data.table_files import as_text

_SHOWN = 5  # words of one column that are named each
_BOUNDS_ADVICE = "say bounds: limit, half or missing in the column's declaration, or what each stands for"


class ColumnSource(Strict):
    """One column: the cell as the hospital writes it → the value that is kept.

    Numbers are kept as `cell * scale + offset`.

    Args:
        source: the column's name in the file (`from` in YAML); its own if empty.
        values: every cell that occurs → its value; cells that it lacks are refused. In a measured column numbers need
            no word: they stand for themselves.
        missing: cells that mean unknown.
        bounds: what stands for cells such as `> 89`, `90+` or `<0.01`: the `limit` itself, `half` of a lower one,
            `missing`; or by cell, a number.
        scale: factor, for another unit.
        offset: added after it.
        nonpositive_missing: whether zero and below mean unknown.
        date: how dates are written there, such as `%d.%m.%Y` (codes of strptime), or several ways; ISO if None.
        or_else: another column, which says the value where this one does not.
    """

    source: str = Field("", alias="from")
    values: dict[Word, str | int | float] | None = None
    missing: list[Word] = Field([])
    bounds: Rule | dict[Word, float] | None = None
    scale: float = 1.0
    offset: float = 0.0
    nonpositive_missing: bool = False
    date: Formats | None = None
    or_else: "ColumnSource | None" = None

    @model_validator(mode="after")
    def _one_meaning(self) -> "ColumnSource":
        both = sorted(set(self.values or ()) & set(self.missing))
        if both:
            raise ValueError(f"'{both[0]}' stands in values and in missing")
        if self.values is not None and self.bounds is not None:
            raise ValueError("give values (of codes) or bounds (of numbers)")
        if self.date is not None and (self.values is not None or self.converts):
            raise ValueError("give date (of dates), or what codes and numbers mean")
        return self

    def fields(self, name: str) -> list[str]:
        """Columns of the file that are read for it."""
        return [self.source or name, *(self.or_else.fields(name) if self.or_else is not None else ())]

    @property
    def converts(self) -> bool:
        """Whether its cells must be numbers."""
        changed = (self.scale, self.offset, self.nonpositive_missing) != (1.0, 0.0, False)
        return changed or self.bounds is not None


@dataclass(frozen=True)
class Reader:
    """Reads the columns of one table.

    Attributes:
        path: of the table, for messages.
        dialect: how it is written.
        frame: its cells.
        text: columns, by the names that they get, that stay text.
        numbers: columns that hold numbers.
        number_fields: the same, by the names that they have in the file.
        measured: those of them that measure something, so that words may stand beside numbers.
        words: declared values of categorical columns.
        problems: takes cells that cannot be read, which are then missing; they are refused if None.
    """

    path: Path
    dialect: Dialect
    frame: pd.DataFrame
    text: Collection[str]
    numbers: Collection[str]
    number_fields: Collection[str]
    measured: Collection[str]
    words: Mapping[str, list[str]]
    problems: Problems | None

    def read(self, name: str, column: ColumnSource) -> "pd.Series[Any]":
        """A column as declared.

        Raises:
            DataError: naming the first cell that cannot be read, where no problems are taken.
        """
        return self._read(name, column, self.frame)

    def _read(self, name: str, column: ColumnSource, frame: pd.DataFrame) -> "pd.Series[Any]":
        cells = self._cells(name, column, frame)
        if column.or_else is None or not cells.isna().any():
            return cells
        rest = self._read(name, column.or_else, frame[cells.isna()])
        if cells.dtype == object or rest.dtype == object:
            cells = cells.astype(object)
        return cells.where(cells.notna(), rest.reindex(cells.index))

    def _cells(self, name: str, column: ColumnSource, frame: pd.DataFrame) -> "pd.Series[Any]":
        field = column.source or name
        cells = frame[field]
        if column.values is not None:
            if name in self.measured and all(np.isnan(_as_number(word)) for word in column.values):
                return self._words_among_numbers(cells, field, column)
            return self._translate(codes(cells), field, column)
        if name in self.words:
            return self._categories(cells, name, column)
        cells = _without(cells, [*self.dialect.missing, *column.missing])
        if column.date is not None:
            return self._dates(as_text(cells), field, column.date)
        if name in self.text or (name not in self.numbers and not column.converts and _is_date(name)):
            return as_text(cells)
        if name not in self.numbers and not column.converts:
            plain = numbers_or_text(cells)
            return plain if self.dialect.decimal_sign == "." or plain.dtype != object else self._all_numbers(plain)
        return self._numbers(self._unambiguous(cells, field), field, column)

    def _numbers(self, cells: "pd.Series[Any]", field: str, column: ColumnSource) -> "pd.Series[Any]":
        sign, thousands = self.dialect.decimal_sign, self.dialect.thousands
        if isinstance(column.bounds, dict):
            stands = column.bounds
            cells = cells.map(lambda cell: stands.get(cell.strip(), cell) if isinstance(cell, str) else cell)
        elif column.bounds is not None:
            rule = column.bounds
            cells = cells.map(lambda cell: bounded(cell, rule, sign, thousands), na_action="ignore")
        values = numbers(cells, sign, thousands)
        text = values.isna() & cells.notna()
        if not column.converts:
            return values if not text.any() else cells.where(text, values.astype(object))
        if text.any():
            advice = advice_for(cells[text.idxmax()])
            self._reject(cells, text, "text where numbers are converted", advice, field)
        if column.nonpositive_missing:
            values = values.where(values > 0)
        return values if (column.scale, column.offset) == (1.0, 0.0) else values * column.scale + column.offset

    def _all_numbers(self, cells: "pd.Series[Any]") -> "pd.Series[Any]":
        values = numbers(cells, self.dialect.decimal_sign, self.dialect.thousands)
        return values if (values.notna() == cells.notna()).all() and values.notna().any() else cells

    def _words_among_numbers(self, cells: "pd.Series[Any]", field: str, column: ColumnSource) -> "pd.Series[Any]":
        """Numbers, and for declared words, as of values beyond a limit, what stands for them."""
        written = codes(cells)
        declared = written.isin(list(column.values or {}))
        rest = _without(cells.mask(declared, None), [*self.dialect.missing, *column.missing])
        values = self._numbers(self._unambiguous(rest, field), field, column.model_copy(update={"values": None}))
        joined = values.astype(object).where(~declared, written.map(column.values or {}))
        return joined if values.dtype == object else pd.to_numeric(joined)

    def _dates(self, cells: "pd.Series[str]", field: str, formats: Formats) -> "pd.Series[str]":
        dates = iso_dates(cells, formats)
        wrong = cells.notna() & dates.isna()
        if wrong.any():
            ways = formats if isinstance(formats, str) else " or ".join(formats)
            self._reject(cells, wrong, f"is no date written {ways}", "mend it, or say how it is written", field)
        return dates

    def _unambiguous(self, cells: "pd.Series[Any]", field: str) -> "pd.Series[Any]":
        """The cells less those that may be read as one of two numbers."""
        if self.dialect.decimal is not None or cells.dtype != object:
            return cells
        which, alone = ambiguous(cells)
        if not which.any() or not (alone or not self._points_elsewhere):
            return cells
        self._reject(cells, which, AMBIGUOUS, AMBIGUOUS_ADVICE, field)
        return cells.mask(which, None)

    def _reject(self, cells: "pd.Series[Any]", which: "pd.Series[bool]", finding: str, advice: str, field: str) -> None:
        """Notes cells that cannot be read, in one line; the rest of the table can."""
        row, count = int(which.idxmax()), int(which.sum())
        if self.problems is None:
            raise refuse(self.path, finding, advice, field, row=row, value=cells[row])
        times = f", in {count} rows, the first" if count > 1 else ""
        self.problems.error(self.path, f"{finding}{times}", advice, field=field, row=row, value=cells[row])

    @property
    def _points_elsewhere(self) -> bool:
        """Whether a point is the decimal sign in some other column of numbers."""
        fields = [name for name in self.number_fields if name in self.frame and self.frame[name].dtype == object]
        return any(self.frame[name].map(shows_point).any() for name in fields)

    def _translate(self, cells: "pd.Series[str]", field: str, column: ColumnSource) -> "pd.Series[Any]":
        values = column.values or {}
        missing = {*column.missing, *(word for word in self.dialect.missing if word not in values)}
        cells = cells.mask(cells.isin(list(missing)))
        unknown = cells.notna() & ~cells.isin(list(values))
        words = cells[unknown].drop_duplicates()
        if len(words) > _SHOWN and self.problems is not None:
            finding = f"{len(words)} words are none of {', '.join(values)}; the first {_SHOWN} follow"
            self.problems.error(self.path, finding, "add them in the declaration", field=field)
        for word in words.iloc[:_SHOWN]:
            rows = cells.index[(cells == word).to_numpy()]
            advice = "add it to the column's values or missing in the declaration"
            if not np.isnan(_as_number(word)):
                advice = "add it there, or say bounds instead of values, where the other cells are numbers"
            advice = nearest(word, values, advice)
            finding = f"none of {', '.join(values)}"
            if self.problems is None:
                raise refuse(self.path, finding, advice, field=field, row=int(rows[0]), value=word)
            times = f" in {len(rows)} rows, the first" if len(rows) > 1 else ""
            self.problems.error(self.path, f"{finding}{times}", advice, field=field, row=int(rows[0]), value=word)
        translated = cells.mask(unknown).map(values)
        return translated if any(isinstance(value, str) for value in values.values()) else pd.to_numeric(translated)

    def _categories(self, cells: "pd.Series[Any]", name: str, column: ColumnSource) -> "pd.Series[Any]":
        """Words as the dictionary spells them: one exporter writes 1, the next 1.0."""
        values = self.words[name]
        missing = {*column.missing, *(word for word in self.dialect.missing if word not in values)}
        text = as_text(cells)
        plain = {whole(word): word for word in values}
        text = text.map(lambda word: word if word in values else plain.get(whole(word), word), na_action="ignore")
        return text.mask(text.isin(list(missing)), None)


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """Advice: the known word most like this one, letter case aside; `otherwise` where none is."""
    by_fold = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return f"did you mean '{by_fold[close[0]]}'? else {otherwise}" if close else otherwise


def advice_for(cell: Any) -> str:
    """What to do about a cell that is no number."""
    if is_bound(cell):
        return _BOUNDS_ADVICE
    if isinstance(cell, str) and not np.isnan(_as_number(cell)):
        return "say decimal and thousands in the source's declaration, as the file writes numbers"
    return f"translate it in the declaration, or say missing: ['{cell}'] if it means unknown"


def codes(cells: "pd.Series[Any]") -> "pd.Series[str]":
    """Cells as words, whole numbers without `.0`."""
    text = as_text(cells)
    return text.str.replace(WHOLE, r"\1", regex=True) if text.notna().any() else text


def whole(word: str) -> str:
    """A word without `.0`, if it is a whole number."""
    return re.sub(WHOLE, r"\1", word)


def _as_number(word: str) -> float:
    """A word as a number by any of the usual signs."""
    signs = ((".", None), (",", None), (",", "."), (".", ","), (",", " "), (".", "'"))
    return next((value for sign in signs if not np.isnan(value := _number(word, *sign))), np.nan)


def _number(word: str, decimal: str, thousands: str | None) -> float:
    return float(numbers(pd.Series([word], dtype=object), decimal, thousands).iloc[0])


def _is_date(name: str) -> bool:
    return "date" in name.lower() or name.lower() == "dob"


def _without(cells: "pd.Series[Any]", missing: list[str]) -> "pd.Series[Any]":
    """Cells less those that mean unknown, text without surrounding blanks."""
    if cells.dtype != object:
        words = pd.to_numeric(pd.Series(missing, dtype=object), errors="coerce").dropna()
        return cells.mask(cells.isin(words)) if len(words) else cells
    # Not by `map`, which makes floats of long whole numbers beside a missing one.
    text = pd.Series(
        [c.strip() if isinstance(c, str) else c for c in cells], cells.index, dtype=object, name=cells.name
    )
    text = text.mask(text.isin([""]) | (codes(cells).isin(missing) if missing else False))
    return text.where(text.notna(), None)
