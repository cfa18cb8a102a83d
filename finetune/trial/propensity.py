"""Propensity weights: who would have been treated, by what is known before, and how alike weights make the arms."""

from typing import Literal, get_args

import numpy as np
import pandas as pd

from finetune.trial.linear import fit_logistic
from foundation.errors import UserError
from foundation.statistics.table import Floats, ratio

Estimand = Literal["treated", "all", "overlap"]
ESTIMANDS: tuple[str, ...] = get_args(Estimand)
_RIDGE = 1e-3  # of standardised covariates: a level that one arm alone has must not take its coefficient to infinity


def design_of(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Covariates as columns of numbers, standardised or 0 and 1: `[patients, columns]`.

    A word becomes a column a level; an unknown number the mean, and a column that says so.
    """
    parts: dict[str, Floats] = {}
    for name in names:
        column = table[name]
        numbers = pd.to_numeric(column, errors="coerce")
        unknown = column.isna().to_numpy()
        if numbers.notna().sum() == (~unknown).sum():
            values = numbers.fillna(numbers.mean()).to_numpy(np.float64)
            if values.std() > 0:
                parts[name] = (values - values.mean()) / values.std()
            if unknown.any() and not unknown.all():
                parts[f"{name} unknown"] = unknown.astype(np.float64)
            continue
        levels = column.astype("string").fillna("unknown")
        for level in sorted(levels.unique())[1:]:  # the first is what the others are held against
            parts[f"{name} {level}"] = (levels == level).to_numpy(np.float64)
    if not parts:
        raise UserError(
            f"tool.covariates: none of {', '.join(names) or 'no name'} varies; name what the arms differ in"
        )
    return pd.DataFrame(parts, index=table.index)


def propensity(design: Floats, arm: Floats) -> Floats:
    """Chance of treatment by logistic regression, slightly ridged (Rosenbaum & Rubin 1983): `[patients]`."""
    full = np.column_stack([np.ones(len(arm)), design])
    beta = fit_logistic(full, arm, _RIDGE)
    if np.isnan(beta).any():
        raise UserError("tool.covariates: they tell the arms fully apart, so nobody is comparable; take fewer")
    return np.asarray(1 / (1 + np.exp(-(full @ beta))))


def weights_of(chance: Floats, arm: Floats, estimand: str) -> Floats:
    """Weights that make the arms alike, `[patients]`.

    Args:
        chance: of treatment.
        arm: 1 treated, 0 not.
        estimand: `treated`: effect on those treated, who count once each; `all`: on everybody; `overlap`: on those who
            might be in either arm (Li, Morgan & Zaslavsky 2018).

    Raises:
        UserError: if there is no such estimand.
    """
    if estimand not in ESTIMANDS:
        raise UserError(f"tool.estimand: found '{estimand}'; choose from {', '.join(ESTIMANDS)}")
    treated: Floats = {"treated": np.ones(len(arm)), "all": 1 / chance, "overlap": 1 - chance}[estimand]
    others: Floats = {"treated": chance / (1 - chance), "all": 1 / (1 - chance), "overlap": chance}[estimand]
    return np.asarray(np.where(arm == 1, treated, others), dtype=np.float64)


def standardised_differences(design: Floats, arm: Floats, weights: Floats) -> Floats:
    """Differences of means in units of the arms' unweighted spread (Austin 2009): `[columns]`."""
    spread = np.sqrt((design[arm == 1].var(axis=0, ddof=1) + design[arm == 0].var(axis=0, ddof=1)) / 2)
    means = [np.average(design[arm == place], axis=0, weights=weights[arm == place]) for place in (1, 0)]
    return np.nan_to_num(ratio(means[0] - means[1], spread))


def weighted_difference(outcome: Floats, arm: Floats, weights: Floats) -> tuple[float, float]:
    """Difference of weighted means and its robust error, the weights taken as known."""
    value, variance = 0.0, 0.0
    for place, sign in ((1, 1), (0, -1)):
        inside, weigh = outcome[arm == place], weights[arm == place] / weights[arm == place].sum()
        mean = float(weigh @ inside)
        value += sign * mean
        variance += float((weigh**2 * (inside - mean) ** 2).sum())
    return value, float(np.sqrt(variance))
