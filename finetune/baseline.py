"""What age and sex alone say: the least that a model must beat, fitted on the same training patients.

What fits is imported where it is used: heads know this module, and a served head fits nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from foundation.data.cohort import Cohort

_COLUMNS = ("age", "sex")
_RECORD = "record"
_RIDGE = 0.01


def records(cohort: "Cohort", patients: Sequence[str]) -> list[dict[str, Any]]:
    """The record of each patient, empty where there is none; nothing else of them is read."""
    return [cohort.sample(patient, [_RECORD]).get(_RECORD, {}) for patient in patients]


def covariates(cohort: "Cohort", patients: list[str], fill: float | None = None) -> pd.DataFrame:
    """Age in standard units, sex as male or not, and a mark where sex is unknown: `[patients, 3]`.

    Args:
        cohort: prepared.
        patients: ids, in order.
        fill: age of those whose age is unknown; the median of these patients if not given.
    """
    rows = records(cohort, patients)
    age = pd.Series([row.get("age") for row in rows], dtype=float)
    sex = [row.get("sex") for row in rows]
    return pd.DataFrame(
        {
            "age": (age.fillna(age.median() if fill is None else fill).fillna(0.0) - 60) / 10,
            "male": [float(value == "M") for value in sex],
            "sex_unknown": [float(value is None) for value in sex],
        }
    )


def usable(cohort: "Cohort") -> bool:
    """Whether the cohort's record names age and sex at all."""
    return set(_COLUMNS) <= {column.name for column in cohort.dictionary.record}


def split_covariates(cohort: "Cohort", train: list[str], test: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Covariates of both parts; an age unknown in either is the median of the training patients."""
    ages = [row.get("age") for row in records(cohort, train)]
    median = float(pd.Series(ages, dtype=float).median())
    return covariates(cohort, train), covariates(cohort, test, median)


def logistic(train: pd.DataFrame, label: NDArray[np.float64], test: pd.DataFrame, classes: int) -> NDArray[np.float64]:
    """Probabilities by logistic regression, `[test, classes]`; a class that nobody has in training has none."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(label).astype(int)
    probabilities = np.zeros((len(test), classes))
    probabilities[:, present] = 1.0
    if len(present) > 1:
        model = LogisticRegression().fit(train.to_numpy(), label.astype(int))
        probabilities[:, present] = model.predict_proba(test.to_numpy())
    return probabilities


def cox(
    train: pd.DataFrame, event: NDArray[np.float64], time: NDArray[np.float64], test: pd.DataFrame
) -> NDArray[np.float64]:
    """Log hazards by Cox regression, slightly ridged, `[test]`."""
    from lifelines import CoxPHFitter

    varied = [column for column in train.columns if train[column].nunique() > 1]
    table = train[varied].assign(event=event, time=time)
    model = CoxPHFitter(penalizer=_RIDGE).fit(table, duration_col="time", event_col="event")
    return np.asarray(model.predict_log_partial_hazard(test[varied]), dtype=np.float64)
