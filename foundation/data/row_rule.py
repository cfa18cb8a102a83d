"""The choice of rows where a patient has several: by their order, by what they hold, or by when it was measured."""

from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import model_validator

from foundation.data.dates import ADVICE, Formats, iso_dates
from foundation.data.dialect import Dialect
from foundation.data.problems import Problems, refuse
from foundation.data.table_files import as_text

Unique = Literal["first", "last", "identical", "earliest", "latest"]


class RowRule(Dialect):
    """A table whose rows may be several a patient, and of several days.

    Args:
        unique: which of a patient's several rows counts: the `first`, the `last`, one of `identical` ones, or by date
            the `earliest` or `latest`; several are refused if None.
        date: column of the file that says when what a row holds was measured.
        date_format: how it is written, such as `%d.%m.%Y`; ISO if None.
        timeless: whether what the table holds never changes, so that no landmark asks when it was measured.
    """

    unique: Unique | None = None
    date: str | None = None
    date_format: Formats | None = None
    timeless: bool = False

    @model_validator(mode="after")
    def _dated(self) -> "RowRule":
        if self.unique in ("earliest", "latest") and self.date is None:
            raise ValueError(f"unique: {self.unique} needs date, the column that says when a row was measured")
        return self


def row_dates(
    cells: "pd.Series[Any]", rule: RowRule, path: Path, problems: Problems | None
) -> "pd.Series[pd.Timestamp]":
    """When each row was measured, NaT where nobody says.

    Raises:
        DataError: without `problems`, if a cell is no date.
    """
    text = as_text(cells)
    text = text.mask(text.isin(rule.missing)) if rule.missing else text
    written = text if rule.date_format is None else iso_dates(text, rule.date_format)
    dates = pd.to_datetime(written, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
    wrong = text.notna() & dates.isna()
    if wrong.any():
        row, field = int(wrong.idxmax()), str(cells.name)
        advice = ADVICE.replace("date:", "date_format:").replace("column's", "source's")
        if problems is None:
            raise refuse(path, "is no date", advice, field=field, row=row, value=text[row])
        problems.error(path, f"{int(wrong.sum())} cells are no dates, the first", advice, field=field, value=text[row])
    return dates.astype("datetime64[s]")


def by_rule(
    patients: "pd.Series[str]", unique: Unique, dates: "pd.Series[pd.Timestamp] | None", alone: bool
) -> "pd.Series[bool]":
    """Which rows a rule of order or date takes.

    Args:
        patients: whose each row is.
        unique: any but `identical`.
        dates: of the rows; needed by `earliest` and `latest`, for which undated rows are taken where no other is.
        alone: whether a patient keeps one row; else all of the day that counts, as the images of one examination.
    """
    if unique in ("first", "last"):
        return ~patients.duplicated(keep="first" if unique == "first" else "last")
    assert dates is not None
    latest = unique == "latest"
    days = dates.fillna(pd.Timestamp.min if latest else pd.Timestamp.max.floor("s"))
    order = days.sort_values(ascending=not latest, kind="stable").index
    first = ~patients[order].duplicated()
    if alone:
        return first.reindex(patients.index)
    chosen = patients.map(pd.Series(days[order][first].to_numpy(), patients[order][first].to_numpy()))
    return days.dt.normalize() == pd.to_datetime(chosen).dt.normalize()
