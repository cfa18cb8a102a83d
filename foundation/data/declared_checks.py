"""What a column's name and values say, held against what the declaration takes it for."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundation.data.columns import ColumnSource
from foundation.data.declaration import Declaration
from foundation.data.problems import Problems
from foundation.data.tables import TableSource

_DAYS = {"month": 30.4375, "week": 7.0, "year": 365.25, "hour": 1 / 24}
_SHORT = {"month": "mos?|mths?", "week": "wks?", "year": "yrs?", "hour": "hrs?"}  # as in os_mo or FollowUp (yrs)
_REVERSED = re.compile(r"censor|alive|living|surviv(?:ed|or)", re.IGNORECASE)


def check_declared(patients: pd.DataFrame, declaration: Declaration, path: Path, problems: Problems) -> None:
    """Survival as declared: an event that is named after its opposite, days named after another unit.

    Args:
        patients: as read, indexed by patient.
        declaration: of the cohort.
        path: of the patients' table.
        problems: takes warnings that say what to write.
    """
    survival = declaration.dictionary.survival
    source = declaration.sources.patients
    columns = source.columns or {} if isinstance(source, TableSource) else {}
    if not survival or not {*survival.values()} <= {*patients.columns}:
        return
    event, time = survival["event"], survival["time"]
    _check_event(event, columns.get(event, ColumnSource()), path, problems)
    _check_time(time, columns.get(time, ColumnSource()), patients[time], path, problems)


def _check_event(event: str, column: ColumnSource, path: Path, problems: Problems) -> None:
    written = column.source or event
    if column.values is None and (column.scale, column.offset) == (1.0, 0.0) and _REVERSED.search(written):
        finding = f"'{written}' is read as the event, which by its name it says did not happen"
        advice = f"if 1 means censored or alive, say {event}: {{from: {written}, values: {{0: 1, 1: 0}}}}"
        problems.warn(path, finding, advice, field=written)


def _check_time(time: str, column: ColumnSource, values: "pd.Series[Any]", path: Path, problems: Problems) -> None:
    written = column.source or time
    if column.scale != 1:
        return
    unit = next((name for name in _DAYS if _names(name, written.lower())), None)
    if unit is not None:
        finding = f"'{written}' is read as days, and is named after {unit}s"
        advice = f"say {time}: {{from: {written}, scale: {_DAYS[unit]:g}}}"
        problems.warn(path, finding, advice, field=written)
        return
    known = pd.to_numeric(values, errors="coerce").dropna()
    known = known[np.isfinite(known)]
    broken = known[known != np.floor(known)]
    if not len(broken):
        return
    if len(broken) * 2 > len(known):
        finding = f"{len(broken)} of {len(known)} times are no whole numbers of days, {known.max():g} the longest"
        advice = f"if they are months or years, say {time}: {{from: {written}, scale: 30.4375}} (or 365.25)"
        problems.warn(path, finding, advice, field=written, value=f"{broken.iloc[0]:g}")
    else:
        finding = f"{len(broken)} of {len(known)} times are no whole numbers, the first of patient {broken.index[0]}"
        advice = "days are whole: check whether a point stood for thousands"
        problems.error(path, finding, advice, field=written, value=f"{broken.iloc[0]:g}")


def _names(unit: str, column: str) -> bool:
    """Whether a column is called after a unit, in full or for short."""
    return unit in column or re.search(rf"(?<![a-z])(?:{_SHORT[unit]})(?![a-z])", column) is not None
