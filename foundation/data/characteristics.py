"""Table 1 of a prepared cohort: who its patients are, by hospital, in numbers that name nobody.

A count of one to four persons, what would tell such a count by subtraction, and quartiles of fewer than five persons
are left out (null), unless patients are synthetic.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

UNKNOWN = "unknown"
FEWEST = 5  # persons whom a number may tell of
_MOST_CLASSES = 10  # distinct values, above which a label is a quantity


def characteristics(
    tables: Mapping[str, pd.DataFrame],
    columns: Sequence[tuple[str, str]],
    labels: Sequence[str],
    survival: Mapping[str, str],
    synthetic: bool,
) -> dict[str, Any]:
    """Under `hospitals` by hospital, and under `all` over them, what patients are like.

    Args:
        tables: patients by hospital, as packed.
        columns: of the record: name and kind.
        labels: columns of outcomes.
        survival: columns of event and time; empty without.
        synthetic: whether no person stands behind a row.

    Returns:
        By characteristic either counts by value, or `value` (the median), `low` and `high` (quartiles), `n`.
    """
    fewest = 1 if synthetic else FEWEST
    made = {name: _group(table, columns, labels, survival, fewest) for name, table in tables.items()}
    whole = _group(pd.concat(list(tables.values())), columns, labels, survival, fewest)
    for row, cells in whole.items():
        for value in cells.keys() - {"value", "low", "high", "n"}:
            hidden = [group for group in made.values() if group[row].get(value, 0) is None]
            if len(hidden) == 1:  # else the total less the others would tell it
                cells[value] = None
    return {"hospitals": made, "all": whole}


def _group(
    table: pd.DataFrame,
    columns: Sequence[tuple[str, str]],
    labels: Sequence[str],
    survival: Mapping[str, str],
    fewest: int,
) -> dict[str, Any]:
    records = [json.loads(text or "{}") for text in table["record_values"]] if "record_values" in table else []
    rows: dict[str, Any] = {}
    for name, kind in columns if records else ():
        values = pd.Series([record.get(name) for record in records], dtype=object)
        rows[name] = _quartiles(values, fewest) if kind == "continuous" else _counts(values, fewest)
    for name in labels:
        few = table[name].nunique() <= _MOST_CLASSES
        rows[name] = _counts(table[name].map(_class), fewest) if few else _quartiles(table[name], fewest)
    if survival:
        rows[survival["event"]] = _counts(table[survival["event"]].map(_class), fewest)
        rows[survival["time"]] = _quartiles(table[survival["time"]], fewest)
    return rows


def _class(value: float) -> str | None:
    return None if pd.isna(value) else f"{value:g}"


def _counts(values: pd.Series, fewest: int) -> dict[str, int | None]:
    """Patients by value; null for a count that would tell of too few."""
    counts = values.fillna(UNKNOWN).astype(str).value_counts()  # most first
    hidden = [value for value, count in counts.items() if count < fewest]
    if len(hidden) == 1 and len(counts) > 1:  # else the number of patients less the others would tell it
        hidden.append(counts.index[-2])
    return {str(value): None if value in hidden else int(counts[value]) for value in sorted(counts.index)}


def _quartiles(values: pd.Series, fewest: int) -> dict[str, float | int | None]:
    known = pd.to_numeric(values, errors="coerce").dropna().to_numpy(dtype=float)
    if len(known) < fewest or not len(known):
        return {"value": None, "low": None, "high": None, "n": None}
    low, middle, high = (round(float(value), 3) for value in np.quantile(known, [0.25, 0.5, 0.75]))
    return {"value": middle, "low": low, "high": high, "n": len(known)}
