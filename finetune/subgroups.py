"""Groups of patients by which figures are told: hospital, sex, age band, what a patient has, declared columns."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from finetune.baseline import records
from foundation.data.cohort import Cohort
from foundation.errors import UserError

UNKNOWN = "unknown"
Groups = dict[str, dict[str, np.ndarray]]


def groups(
    cohort: Cohort,
    patients: Sequence[str],
    modalities: Sequence[str],
    age_bands: Sequence[float],
    declared: Sequence[str],
) -> Groups:
    """By grouping and level, which of the patients are in it, `[patients]`; levels that nobody is in are left out.

    Args:
        cohort: prepared.
        patients: ids.
        modalities: that the task looks at.
        age_bands: years at which a new band begins.
        declared: further columns of the record or of the patients' table.

    Raises:
        UserError: if the cohort has no such column.
    """
    table = cohort.patients.loc[list(patients)]
    record = pd.DataFrame(records(cohort, patients), index=table.index)
    names = {column.name for column in cohort.dictionary.record}
    columns = {"hospital": table["hospital"].tolist()}
    if "sex" in names:
        columns["sex"] = _levels(record, "sex")
    if "age" in names:
        columns["age"] = [_band(age, age_bands) for age in record.get("age", pd.Series(np.nan, table.index))]
    has = [[name for name in modalities if row[name]] for _, row in table.iterrows()]
    columns["has"] = ["+".join(names_of_one) for names_of_one in has]
    for name in declared:
        if name not in names and name not in table:
            known = ", ".join(sorted(names | set(cohort.dictionary.labels)))
            raise UserError(f"subgroups: {cohort.name} has no column '{name}'; it has {known}")
        columns[name] = _levels(record if name in names else table, name)
    return {name: _masks(values) for name, values in columns.items()}


def _levels(table: pd.DataFrame, name: str) -> list[str]:
    if name not in table:
        return [UNKNOWN] * len(table)
    return [
        UNKNOWN if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value) for value in table[name]
    ]


def _band(age: float | None, starts: Sequence[float]) -> str:
    if age is None or pd.isna(age):
        return UNKNOWN
    edges = sorted(starts)
    place = int(np.searchsorted(edges, age, side="right"))
    if place == 0:
        return f"under {edges[0]:g}" if edges else "all"
    return (
        f"{edges[place - 1]:g} and over" if place == len(edges) else f"{edges[place - 1]:g} to under {edges[place]:g}"
    )


def _masks(values: Sequence[str]) -> dict[str, np.ndarray]:
    column = np.array(values)
    return {level: column == level for level in sorted(set(values))}


def subsets(modalities: Sequence[str]) -> dict[str, list[str]]:
    """By label: all modalities, each alone, and all but each."""
    names = list(modalities)
    named = {"all": names, **{f"{name} alone": [name] for name in names}}
    if len(names) > 2:
        named |= {f"all but {name}": [other for other in names if other != name] for name in names}
    return named
