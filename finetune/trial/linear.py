"""Effects on a quantity and on a yes or no, adjusted for a score fixed before treatment."""

import numpy as np

from finetune.trial.log_rank import Effect
from foundation.errors import UserError
from foundation.statistics.logistic import logistic_sums
from foundation.statistics.newton import Newton
from foundation.statistics.table import Floats


def ancova(outcome: Floats, arm: Floats, covariates: Floats) -> Effect:
    """Difference in means by least squares on arm and covariates `[patients, width]`, none of which is the plain one.

    Errors are robust against unequal variances (HC3; MacKinnon & White 1985), so that the linear model need not hold
    (Lin 2013, Annals of Applied Statistics).
    """
    design = np.column_stack([np.ones(len(outcome)), arm, covariates - covariates.mean(axis=0)])
    _check_arms(arm, design.shape[1])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ outcome
    leverage = np.einsum("ni,ij,nj->n", design, inverse, design)
    residual = (outcome - design @ beta) / (1 - leverage)
    covariance = inverse @ (design.T * residual**2) @ design @ inverse
    error = float(np.sqrt(covariance[1, 1]))
    name = "difference in means, ANCOVA, HC3 errors" if covariates.shape[1] else "difference in means, HC3 errors"
    return Effect(float(beta[1]), error, float(beta[1]) / error, len(outcome), name)


def risk_difference(label: Floats, arm: Floats, covariates: Floats) -> Effect:
    """Difference in risk: a logistic model of arm and covariates, averaged over all patients in each arm in turn.

    G-computation; the error is that of the influence function, which needs the model not to hold (Ge et al. 2011; Ye,
    Bannick, Yi & Shao 2023, Statistical Theory and Related Fields), with its degrees of freedom.

    Raises:
        UserError: where the outcomes of the patients are fully told apart by arm and covariates.
    """
    centred = covariates - covariates.mean(axis=0)
    design = np.column_stack([np.ones(len(label)), arm, centred])
    _check_arms(arm, design.shape[1])
    beta = fit_logistic(design, label)
    if np.isnan(beta).any():
        raise UserError("risk difference: arm and score tell all outcomes apart; use fewer covariates or more patients")
    treated, others = (
        _chance(np.column_stack([np.ones(len(label)), np.full(len(label), a), centred]), beta) for a in (1.0, 0.0)
    )
    share = float(arm.mean())
    influence = arm / share * (label - treated) - (1 - arm) / (1 - share) * (label - others) + treated - others
    value = float((treated - others).mean())
    n = len(label)
    error = float(np.sqrt(((influence - influence.mean()) ** 2).sum() / (n - design.shape[1]) / n))
    return Effect(value, error, value / error, n, "risk difference, logistic g-computation, influence-function error")


def fit_logistic(design: Floats, label: Floats, ridge: float = 0.0, weights: Floats | None = None) -> Floats:
    """Coefficients of a logistic regression, `[width]`; NaN where the outcomes are fully apart."""
    newton = Newton(design.shape[1], ridge=ridge)
    while not newton.done:
        newton.update(logistic_sums(design, label, newton.beta, None if weights is None else weights[None]))
    return np.asarray(newton.beta[0])


def _chance(design: Floats, beta: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-(design @ beta))))


def _check_arms(arm: Floats, width: int) -> None:
    treated = int(arm.sum())
    if min(treated, len(arm) - treated) <= width:
        raise UserError(f"arm: {treated} of {len(arm)} patients are treated; both arms need more than {width}")
