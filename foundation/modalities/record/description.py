"""Records on a cohort's page."""

from typing import Any

import pandas as pd

from foundation.data.cohort import Cohort
from foundation.data.sections import Drawn, Section, section


def describe(cohort: Cohort, drawn: Drawn) -> Section | None:
    """By hospital: the median of each number, the commonest level of each category, and how many are known."""
    has = cohort.patients[cohort.patients["record"]]
    if has.empty:
        return None
    values = pd.DataFrame([cohort.sample(patient, ["record"])["record"] for patient in has.index], index=has.index)
    columns: dict[str, Any] = {}
    for column in cohort.dictionary.record:
        groups = values[column.name].groupby(has["hospital"], sort=False)
        columns[f"{column.name} known"] = groups.count()
        if column.kind == "continuous":
            columns[column.name] = values[column.name].astype(float).groupby(has["hospital"], sort=False).median()
        else:
            columns[column.name] = groups.agg(_commonest)
    return section("Record", [pd.DataFrame(columns)], note="Medians of numbers, commonest level of categories.")


def _commonest(values: "pd.Series[Any]") -> str:
    counts = values.value_counts(normalize=True)
    return "–" if counts.empty else f"{counts.index[0]} ({counts.iloc[0]:.0%})"
