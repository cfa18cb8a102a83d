"""Table 1 of a prepared cohort: who its patients are, by hospital, in numbers that name nobody.

A count of one to four persons, what would tell such a count by subtraction, and quartiles of fewer than five persons
are left out (null), unless patients are synthetic.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import json

from foundation.statistics.suppression import determined, hide, is_small

UNKNOWN = "unknown"
FEWEST = 5  # persons whom a number may tell of
_QUARTERS = 4
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
    by_row = _values(tables, columns, labels, survival)
    made: dict[str, dict[str, Any]] = {name: {} for name in tables}
    whole: dict[str, Any] = {}
    for row, (by_hospital, quantity) in by_row.items():
        cells, whole[row] = (_quantities if quantity else _classes)(by_hospital, fewest)
        for name, part in cells.items():
            made[name][row] = part
    return {"hospitals": made, "all": whole}


def _values(
    tables: Mapping[str, pd.DataFrame],
    columns: Sequence[tuple[str, str]],
    labels: Sequence[str],
    survival: Mapping[str, str],
) -> dict[str, tuple[dict[str, pd.Series], bool]]:
    """By characteristic, the values of each hospital's patients, and whether they are a quantity."""
    records = {
        name: _records(table["record_values"], columns) for name, table in tables.items() if "record_values" in table
    }
    rows: dict[str, tuple[dict[str, pd.Series], bool]] = {}
    for column, kind in columns if records else ():
        by_hospital = {name: records[name][column] if name in records else pd.Series(dtype=object) for name in tables}
        rows[column] = by_hospital, kind == "continuous"
    for label in labels:
        by_hospital = {name: table[label] for name, table in tables.items()}
        # Of all hospitals together: the few patients of one have few distinct values, which would name each of them.
        rows[label] = by_hospital, pd.concat(list(by_hospital.values())).nunique() > _MOST_CLASSES
    for field, quantity in (("event", False), ("time", True)) if survival else ():
        rows[survival[field]] = {name: table[survival[field]] for name, table in tables.items()}, quantity
    return rows


def _records(values: "pd.Series[str]", columns: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The record's columns of packed patients: numbers, or words."""
    if not len(values) or not columns:
        return pd.DataFrame(index=values.index, columns=[column for column, _ in columns], dtype=object)
    lines = "\n".join(values.replace("", "{}")).encode()
    types = [(column, pa.float64() if kind == "continuous" else pa.string()) for column, kind in columns]
    table = json.read_json(
        pa.BufferReader(lines),
        json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        json.ParseOptions(explicit_schema=pa.schema(types), unexpected_field_behavior="ignore"),
    )
    return table.to_pandas()


def _class(value: Any) -> str:
    if pd.isna(value):
        return UNKNOWN
    return f"{value:g}" if isinstance(value, float) else str(value)


def _counted(values: pd.Series) -> Counter[str]:
    """Patients by class; each value is named but once."""
    counts = Counter[str]()
    for value, count in Counter(values).items():
        counts[_class(value)] += count
    return counts


def _classes(
    by_hospital: Mapping[str, pd.Series], fewest: int
) -> tuple[dict[str, dict[str, int | None]], dict[str, int | None]]:
    """Patients by value, at each hospital and over all; None for what would tell of too few."""
    counts = {name: _counted(values) for name, values in by_hospital.items()}
    cells = {
        name: hide(dict(sorted(one.items())), [set(one)], fewest) or dict.fromkeys(sorted(one))
        for name, one in counts.items()
    }
    return cells, _totals(counts, cells, fewest)


def _totals(
    counts: Mapping[str, Mapping[str, int]], cells: Mapping[str, Mapping[str, int | None]], fewest: int
) -> dict[str, int | None]:
    """Patients by value over all hospitals; None for a total that, less what is told, would tell of too few."""
    totals = Counter[str]()
    for one in counts.values():
        totals.update(one)
    hidden = {
        (name, value): counts[name][value] for name in cells for value in cells[name] if cells[name][value] is None
    }
    rows = [{cell for cell in hidden if cell[0] == name} for name in cells]
    alone = {cell for row in rows if len(row) == 1 for cell in row}  # the hospital's number of patients is told
    of_value = {value: {cell for cell in hidden if cell[1] == value} for value in totals}
    whole = hide(dict(sorted(totals.items())), [set(totals)], fewest) or dict.fromkeys(sorted(totals))
    left = sorted((total, value) for value, total in whole.items() if total is not None)

    def to_withhold() -> str | None:
        for _, value in left:
            if len(of_value[value]) == 1 or is_small(sum(map(hidden.__getitem__, of_value[value])), fewest):
                return value
        rest = set(hidden).difference(*(of_value[value] for _, value in left))
        small = {cell for cell, count in hidden.items() if is_small(count, fewest)} - alone
        fixed = determined(hidden, [*rows, *(of_value[value] for _, value in left)]) & small
        return left[0][1] if left and (fixed or is_small(sum(map(hidden.__getitem__, rest)), fewest)) else None

    while (value := to_withhold()) is not None:
        left = [(total, name) for total, name in left if name != value]
        whole[value] = None
    return whole


def _quantities(
    by_hospital: Mapping[str, pd.Series], fewest: int
) -> tuple[dict[str, dict[str, float | int | None]], dict[str, float | int | None]]:
    """Quartiles at each hospital and over all; over all without `n` where that would tell of too few."""
    cells = {name: _quartiles(values, fewest) for name, values in by_hospital.items()}
    whole = _quartiles(pd.concat(list(by_hospital.values())), fewest)
    numbers = [_known(by_hospital[name]) for name, one in cells.items() if one["n"] is None]
    hidden = [len(one) for one in numbers if len(one)]
    if len(hidden) == 1 or is_small(sum(hidden), fewest):
        whole["n"] = None
    return cells, whole


def _known(values: pd.Series) -> NDArray[np.float64]:
    known: NDArray[np.float64] = pd.to_numeric(values, errors="coerce").dropna().to_numpy(dtype=np.float64)
    return known


def _quartiles(values: pd.Series, fewest: int) -> dict[str, float | int | None]:
    """None where a quarter would be fewer persons than may be told: of five, quartiles are three persons' values."""
    known = _known(values)
    if len(known) < max(1, fewest):
        return {"value": None, "low": None, "high": None, "n": None}
    if fewest > 1 and len(known) < _QUARTERS * fewest:
        return {"value": None, "low": None, "high": None, "n": len(known)}
    low, middle, high = (round(float(value), 3) for value in np.quantile(known, [0.25, 0.5, 0.75]))
    return {"value": middle, "low": low, "high": high, "n": len(known)}
