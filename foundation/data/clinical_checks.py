"""Checks of clinical tables: impossible ages and dates, follow-up that contradicts itself.

Every function takes a table indexed by patient and gives its findings; none changes or drops anything.
"""

from collections.abc import Collection
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundation.data.columns import advice_for, nearest
from foundation.data.dates import ADVICE
from foundation.data.dictionary import RecordColumn
from foundation.data.numbers import numbers
from foundation.data.problems import Problem, Problems
from foundation.data.table_files import as_text

SHOWN = 20  # findings of one kind in one column that are named each; the rest are counted
OLDEST = 120  # years
CLASSES = 20  # distinct values of a label, from which on it is a quantity
FAR = 10  # scale units from the centre, where a slip of the unit is likelier than the value


def check_record(record: pd.DataFrame, columns: list[RecordColumn], path: Path | str) -> list[Problem]:
    """The record against the data dictionary.

    Errors: text for a number, infinite numbers, impossible ages (columns named `age`, `age_…` or `…_age`, in years),
    categories that are not declared. Warnings: values further than 10 scales from the centre, columns in which all
    patients have one value, or none.
    """
    problems = Problems()
    for column in columns:
        if column.name not in record:
            continue
        cells = record[column.name]
        if column.kind == "categorical":
            _check_levels(cells, column, path, problems)
        else:
            _check_numbers(cells, column, path, problems)
        known = cells.dropna()
        if known.empty:
            problems.warn(path, "no patient has a value", "fill the column, or leave it out", field=column.name)
        elif len(known) > 1 and (known == known.iloc[0]).all():
            advice = "check the export; a constant teaches nothing"
            problems.warn(path, "all patients have one value", advice, field=column.name, value=known.iloc[0])
    return problems.listed


def check_survival(
    patients: pd.DataFrame, path: Path | str, event: str = "os_event", time: str = "os_days"
) -> list[Problem]:
    """Follow-up: event (0 or 1) and time (days since diagnosis).

    Errors: text, events other than 0 and 1, negative times, one without the other. Warnings: times of zero or beyond
    120 years, nobody with an event, nobody followed up.
    """
    problems = Problems()
    for name in (event, time):
        if name not in patients:
            problems.warn(path, "no such column", "add it, or take survival out of the dictionary", field=name)
    if problems.listed:
        return problems.listed
    events, times = (_numbers(patients[name], path, problems) for name in (event, time))
    _note(problems, path, events, events.notna() & ~events.isin([0, 1]), "is no event", "write 0 or 1")
    _note(problems, path, times, np.isinf(times), "is infinite", "write the days followed up")
    _note(problems, path, times, times < 0, "ends before it begins", "mend the dates it was computed from")
    timed, judged = patients[time].notna(), patients[event].notna()
    _note(problems, path, events, judged & ~timed, f"has no {time}", "give the time, or clear the event")
    advice = "give the event (0 if alive), or clear the time"
    _note(problems, path, times, timed & ~judged, f"has no {event}", advice)
    days = OLDEST * 365.25
    _note(problems, path, times, times == 0, "is followed up for no time", "check; it teaches nothing", warning=True)
    long = np.isfinite(times) & (times > days)
    _note(problems, path, times, long, f"is followed up beyond {OLDEST} years", "give days, not hours", warning=True)
    known = events.dropna()
    if known.empty:
        problems.warn(path, "nobody is followed up", "add follow-up, or expect none to be learnt here", field=event)
    elif (known == 0).all():
        advice = "check the coding (1 is the event); all censored teach nothing"
        problems.warn(path, "no patient has the event", advice, field=event)
    return problems.listed


def check_labels(
    patients: pd.DataFrame, labels: list[str], path: Path | str, quantities: Collection[str] = ()
) -> list[Problem]:
    """Labels, the index of a class each: 0 and 1, or more where there are few; or a number, of those in `quantities`.

    Errors: text, infinite numbers. Warnings: values that are no index (all above 1 where they are too many to be
    classes), a single class, nobody labelled.
    """
    problems = Problems()
    for name in labels:
        if name not in patients:
            problems.warn(path, "no such column", "add it, or expect no such task at this hospital", field=name)
            continue
        values = _numbers(patients[name], path, problems)
        known = values.dropna()
        if name in quantities:
            infinite = pd.Series(np.isinf(values), index=values.index)
            _note(problems, path, values, infinite, "is infinite", "leave the cell empty where the value is unknown")
        classes = range(CLASSES if known.nunique() < CLASSES else 2)
        other = values.notna() & ~values.isin(classes) & (name not in quantities)
        finding = f"is no class (0 and 1, or fewer than {CLASSES} written 0, 1, 2, …)"
        advice = f"translate it, or if it is a number, say labels: [{{name: {name}, unit: its unit}}]"
        _note(problems, path, values, other, finding, advice, warning=True)
        if known.empty:
            problems.warn(path, "nobody is labelled", "add labels, or expect no such task here", field=name)
        elif known.nunique() == 1:
            finding = "all patients have one value" if name in quantities else "all patients are of one class"
            problems.warn(path, finding, "check the coding", field=name, value=known.iloc[0])
    return problems.listed


def check_dates(
    table: pd.DataFrame,
    path: Path | str,
    birth: str | None = None,
    diagnosis: str | None = None,
    follow_up: str | None = None,
    today: date | None = None,
) -> list[Problem]:
    """Dates (ISO) of one table that cannot be.

    Errors: no date, in the future, out of the order birth, diagnosis, follow-up, more than 120 years after birth.

    Args:
        table: indexed by patient.
        path: where it was read.
        birth: column of birth dates, if there is one.
        diagnosis: likewise.
        follow_up: of the event or last contact.
        today: the day that nothing can be after.
    """
    problems = Problems()
    names = [name for name in (birth, diagnosis, follow_up) if name is not None and name in table]
    dates = {name: _dates(table[name], path, problems) for name in names}
    now = pd.Timestamp(today or date.today())
    for finding in dates.values():
        _note(problems, path, finding, finding > now, "is in the future", "mend the date")
    for earlier, later in pairwise(names):
        before = dates[later] < dates[earlier]
        _note(problems, path, dates[later], before, f"is before {earlier}", "mend one of the two")
    for name in names[1:] if birth in names else []:
        old = (dates[name] - dates[str(birth)]).dt.days > OLDEST * 365.25
        _note(problems, path, dates[name], old, f"is more than {OLDEST} years after {birth}", "mend one of the two")
    return problems.listed


def date_columns(table: pd.DataFrame) -> tuple[str | None, str | None, str | None]:
    """Columns that by their names hold the dates of birth, diagnosis and follow-up; None for one that is not there."""
    dates = [str(name) for name in table.columns if "date" in str(name).lower() or str(name).lower() == "dob"]

    def named(*words: str) -> str | None:
        return next((name for name in dates if any(word in name.lower() for word in words)), None)

    return named("birth", "dob"), named("diagnos"), named("follow", "contact", "death", "event")


def event_dates(patients: pd.DataFrame) -> "pd.Series[pd.Timestamp] | None":
    """The dates of the event or the last follow-up, where a column holds them."""
    column = date_columns(patients)[2]
    if column is None:
        return None
    return pd.to_datetime(patients[column], errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)


def _check_levels(cells: "pd.Series[Any]", column: RecordColumn, path: Path | str, problems: Problems) -> None:
    words = as_text(cells)
    other = words[words.notna() & ~words.isin(column.values)]
    for value, count in other.value_counts().iloc[:SHOWN].items():
        first = other.index[(other == value).to_numpy()][0]
        finding = f"{count} patients, the first {first}, have none of {', '.join(column.values)}"
        advice = nearest(str(value), column.values, "translate it in the declaration, or add it to the dictionary")
        problems.error(path, finding, advice, field=column.name, value=value)


def _check_numbers(cells: "pd.Series[Any]", column: RecordColumn, path: Path | str, problems: Problems) -> None:
    values = _numbers(cells, path, problems)
    infinite = pd.Series(np.isinf(values), index=values.index)
    _note(problems, path, values, infinite, "is infinite", "leave the cell empty where the value is unknown")
    name = column.name.lower()
    aged = name == "age" or name.startswith("age_") or name.endswith("_age")
    impossible = ((values < 0) | (values > OLDEST)) & ~infinite if aged else infinite & False
    _note(problems, path, values, impossible, "is no age in years", "mend it, or declare the code as missing")
    far = ((values - column.center).abs() > FAR * column.scale) & ~infinite & ~impossible
    finding = f"is more than {FAR} scales ({column.scale:g}) from {column.center:g}"
    _note(problems, path, values, far, finding, "check the unit", warning=True)


def _numbers(cells: "pd.Series[Any]", path: Path | str, problems: Problems) -> "pd.Series[float]":
    values = numbers(cells).astype(float)
    text = cells.notna() & values.isna()
    for advice in cells[text].map(advice_for).drop_duplicates():
        which = text & cells.map(lambda cell, advice=advice: advice_for(cell) == advice)
        _note(problems, path, cells, which, "is no number", advice)
    return values


def _dates(cells: "pd.Series[Any]", path: Path | str, problems: Problems) -> "pd.Series[pd.Timestamp]":
    dates = pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
    _note(problems, path, cells, cells.notna() & dates.isna(), "is no ISO date", ADVICE)
    return dates.astype("datetime64[s]")  # in nanoseconds, centuries between two dates overflow


def _note(
    problems: Problems,
    path: Path | str,
    cells: "pd.Series[Any]",
    wrong: "pd.Series[bool]",
    finding: str,
    advice: str,
    warning: bool = False,
) -> None:
    """A line a patient, up to `SHOWN`; then one that counts the rest."""
    add = problems.warn if warning else problems.error
    mask = np.asarray(wrong, dtype=bool)
    field = str(cells.name)
    for patient, value in cells[mask].iloc[:SHOWN].items():
        shown = value.date() if isinstance(value, pd.Timestamp) else value
        add(path, f"patient {patient} {finding}", advice, field=field, value=shown)
    rest = int(mask.sum()) - SHOWN
    if rest > 0:
        add(path, f"{rest} more patients: {finding}", advice, field=field)
