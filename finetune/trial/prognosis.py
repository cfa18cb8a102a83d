"""How much of an outcome's noise a prognostic score explains: what adjustment for it saves a trial."""

import hashlib
from collections.abc import Sequence

import numpy as np

from finetune.trial.linear import fit_logistic
from foundation.statistics.grid import Grid
from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import Floats, Integers

_PARTS = 5  # of cross-fitting
_KNOTS = (0.05, 0.35, 0.65, 0.95)  # quantiles of the score (Harrell 2015, table 2.3)


def martingale_residuals(event: Floats, time: Floats, weights: Integers | None = None) -> Floats:
    """Events less the cumulative hazard of everybody (Nelson–Aalen) up to each patient's time: `[patients]`.

    Under no effect, the derived outcomes of a log-rank test are these, times the share of the other arm.
    """
    times = Grid.of_events(event, time)
    table = SurvivalTable.from_patients(
        event, time, np.zeros(len(event)), times, Grid(np.zeros(1)), None if weights is None else weights[None]
    )
    hazard = table.nelson_aalen().value[0]
    return np.asarray(event - hazard[times.index(time)], dtype=np.float64)


def spline(score: Floats, knots: Floats) -> Floats:
    """A restricted cubic spline, linear beyond the outer knots (Stone & Koo 1985): `[patients, knots - 1]`."""
    low, high = knots[0], knots[-1]
    last = knots[-2]

    def cubed(values: Floats, knot: float) -> Floats:
        return np.asarray(np.clip(values - knot, 0, None) ** 3)

    columns = [score - low]
    for knot in knots[:-2]:
        ends = (high - knot) / (high - last) * cubed(score, last) - (last - knot) / (high - last) * cubed(score, high)
        columns.append((cubed(score, knot) - ends) / (high - low) ** 2)
    return np.column_stack(columns)


def knots_of(score: Floats) -> Floats:
    """Where a spline of a score bends: at its quantiles, fewer where many patients share one value."""
    return np.unique(np.quantile(score, _KNOTS))


def cross_fitted(score: Floats, outcome: Floats, patients: Sequence[str], yes_or_no: bool = False) -> Floats:
    """The outcome that a score stands for, `[patients]`, each told by a spline that others' outcomes were fitted to.

    A Cox model's score is a log hazard, and the outcome of a log-rank test is a martingale residual: the spline turns
    one into the other. Who fits whom goes by a hash of the id.

    Args:
        score: `[patients]`.
        outcome: martingale residual, quantity, or 0 and 1: `[patients]`.
        patients: ids.
        yes_or_no: whether outcomes are 0 and 1, of which the chance is told.
    """
    part = np.array([hashlib.blake2b(name.encode(), digest_size=8).digest()[0] % _PARTS for name in patients])
    knots = knots_of(score)
    curve = spline(score, knots) if len(knots) > 2 else score[:, None]
    spread = curve.std(axis=0)
    design = np.column_stack([np.ones(len(score)), (curve - curve.mean(axis=0)) / np.where(spread > 0, spread, 1.0)])
    design = design[:, np.concatenate([[True], spread > 0])]
    result = np.empty(len(score))
    for place in np.unique(part):
        inside = part == place
        if yes_or_no:
            beta = fit_logistic(design[~inside], outcome[~inside], ridge=1.0)
            result[inside] = 1 / (1 + np.exp(-(design[inside] @ beta)))
        else:
            beta = np.linalg.lstsq(design[~inside], outcome[~inside], rcond=None)[0]
            result[inside] = design[inside] @ beta
    return result


def explained(outcome: Floats, prognosis: Floats, weights: Integers) -> Floats:
    """Squared correlation of outcome and prognosis, by replicate: `[replicates]`; 0 where they do not go together.

    The share of patients that a trial of the same power needs no more when it adjusts for the prognosis: the variance
    of an adjusted effect is that much smaller, under effects small enough for the arms to vary alike.

    Args:
        outcome: `[patients]`.
        prognosis: `[patients]`.
        weights: how often each patient counts, `[replicates, patients]`.
    """
    total = weights.sum(axis=1)
    means = [weights @ values / total for values in (outcome, prognosis)]
    both = weights @ (outcome * prognosis) / total - means[0] * means[1]
    spreads = [weights @ values**2 / total - mean**2 for values, mean in zip((outcome, prognosis), means, strict=True)]
    product = spreads[0] * spreads[1]
    squared = np.divide(both**2, product, out=np.zeros(len(total)), where=product > 1e-12)
    return np.where(both > 0, squared, 0.0)


def survival_explained(event: Floats, time: Floats, prognosis: Floats, weights: Integers) -> Floats:
    """The same of a log-rank test: the martingale residuals of each replicate are its own."""
    values = []
    for row in weights:
        drawn = row > 0
        residual = martingale_residuals(event[drawn], time[drawn], row[drawn])
        values.append(explained(residual, prognosis[drawn], row[None, drawn])[0])
    return np.array(values)
