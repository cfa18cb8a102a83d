"""What age and sex alone say: the least that a model must beat, fitted on the same training patients."""

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from foundation.data.cohort import Cohort

_COLUMNS = ("age", "sex")
_PENALTY = 0.01


def covariates(cohort: Cohort, patients: list[str], fill: float | None = None) -> pd.DataFrame:
    """Age in standard units, sex as male or not, and a mark where sex is unknown: `[patients, 3]`.

    Args:
        cohort: prepared.
        patients: ids, in order.
        fill: age of those whose age is unknown; the median of these patients if not given.
    """
    rows = [cohort.sample(patient).get("record", {}) for patient in patients]
    age = pd.Series([row.get("age") for row in rows], dtype=float)
    sex = [row.get("sex") for row in rows]
    return pd.DataFrame(
        {
            "age": (age.fillna(age.median() if fill is None else fill).fillna(0.0) - 60) / 10,
            "male": [float(value == "M") for value in sex],
            "sex_unknown": [float(value is None) for value in sex],
        }
    )


def usable(cohort: Cohort) -> bool:
    """Whether the cohort's record names age and sex at all."""
    return set(_COLUMNS) <= {column.name for column in cohort.dictionary.record}


def classification_baseline(cohort: Cohort, train: list[str], test: list[str], target: str) -> NDArray[np.float64]:
    """Probability by logistic regression on age and sex: `[test]`."""
    label = cohort.patients.loc[train, target].to_numpy(dtype=int)
    model = LogisticRegression().fit(covariates(cohort, train).to_numpy(), label)
    return np.asarray(model.predict_proba(covariates(cohort, test, _median_age(cohort, train)).to_numpy())[:, -1])


def survival_baseline(cohort: Cohort, train: list[str], test: list[str], event: str, time: str) -> NDArray[np.float64]:
    """Log hazard by Cox regression on age and sex, slightly ridged: `[test]`."""
    table = covariates(cohort, train)
    varied = [column for column in table.columns if table[column].nunique() > 1]
    table = table[varied].assign(
        event=cohort.patients.loc[train, event].to_numpy(), time=cohort.patients.loc[train, time].to_numpy()
    )
    model = CoxPHFitter(penalizer=_PENALTY).fit(table, duration_col="time", event_col="event")
    rows = covariates(cohort, test, _median_age(cohort, train))[varied]
    return np.asarray(model.predict_log_partial_hazard(rows), dtype=np.float64)


def _median_age(cohort: Cohort, patients: list[str]) -> float:
    ages = [cohort.sample(patient).get("record", {}).get("age") for patient in patients]
    return float(pd.Series(ages, dtype=float).median())
