"""Ridge regression of any response by Newton's method, and its penalty by leaving hospitals out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.experts.responses import Floats, Response, Rows

# Not `foundation.statistics.newton`. With a ridge a coefficient it comes to the same within 1e-6 where both classes
# have somebody. Where one has nobody it runs further off (64 columns, penalty 10: an intercept of -49 for -30 here; the
# optimum is -17), and its eigenvalues and inverses at each step take up to six times as long, in hundreds of fits.
_STEPS = 50
_HALVINGS = 20
_CONVERGED = 1e-10
_SPLITS = 5
PENALTIES = tuple(10.0 ** (power / 2) for power in range(-2, 8))


class CrossFit(NamedTuple):
    """Scores of patients by fits that have not seen their hospital: `scores` `[patients]`, at the best `penalty`."""

    scores: Floats
    penalty: float
    log_likelihood: float


def ridge(design: Floats, response: Response, penalty: float, start: Floats | None = None) -> Floats:
    """Coefficients `[width + 1]`, the intercept last (zero where the response has none), which is not penalised.

    Args:
        design: `[patients, width]`, of columns with a mean near zero.
        response: of the same patients, all known.
        penalty: half of it times the sum of squared coefficients is taken off the log-likelihood.
        start: coefficients near the result, to begin from.
    """
    ones = np.ones((len(design), int(response.intercept)))
    full = np.concatenate([design, ones], axis=1)
    penalties = np.full(full.shape[1], penalty)
    penalties[design.shape[1] :] = 1e-6  # a class that nobody has leaves no finite intercept
    beta = np.zeros(full.shape[1]) if start is None else start[: full.shape[1]].copy()
    now = response.sums(full, beta)
    for _ in range(_STEPS):
        gradient = now.gradient - penalties * beta
        step = np.linalg.solve(now.information + np.diag(penalties), gradient)
        if gradient @ step < _CONVERGED:
            break
        value = now.log_likelihood - (penalties * beta**2).sum() / 2
        for _ in range(_HALVINGS):
            now = response.sums(full, beta + step)
            if now.log_likelihood - (penalties * (beta + step) ** 2).sum() / 2 >= value:
                break
            step = step / 2
        beta = beta + step
    return np.append(beta, np.zeros(1 - int(response.intercept)))


def linear(design: Floats, beta: Floats) -> Floats:
    """Scores of coefficients as `ridge` gives them."""
    return np.asarray(design @ beta[:-1] + beta[-1])


def hospital_folds(hospitals: Sequence[str] | NDArray[np.str_], seed: int = 0) -> list[Rows]:
    """Rows of each hospital; of random fifths where there are fewer than three hospitals."""
    names = np.asarray(hospitals)
    unique = np.unique(names)
    if len(unique) > 2:
        return [np.flatnonzero(names == name) for name in unique]
    order = np.random.default_rng(seed).permutation(len(names))
    return [np.sort(part) for part in np.array_split(order, min(_SPLITS, len(names))) if len(part)]


def cross_fit(
    designs: Sequence[Floats], response: Response, folds: Sequence[Rows], penalties: Sequence[float] = PENALTIES
) -> CrossFit:
    """The penalty under which fits without a fold explain it best, and their scores.

    A federation would leave a hospital out by taking its sums off the pooled ones.

    Args:
        designs: for each fold, that of the fit without it, `[patients, width]`.
        response: of the same patients, all known.
        folds: rows; each patient stands in one.
        penalties: to choose from.
    """
    rows = np.arange(len(designs[0]))
    others = [np.setdiff1d(rows, fold) for fold in folds]
    starts: list[Floats | None] = [None] * len(folds)
    best: CrossFit | None = None
    for penalty in sorted(penalties, reverse=True):
        scores, likelihood = np.zeros(len(rows)), 0.0
        for index, (design, fold, rest) in enumerate(zip(designs, folds, others, strict=True)):
            starts[index] = beta = ridge(design[rest], response.of(rest), penalty, starts[index])
            scores[fold] = linear(design[fold], beta)
            likelihood += response.of(fold).log_likelihood(scores[fold])
        if best is None or likelihood > best.log_likelihood:
            best = CrossFit(scores, penalty, likelihood)
    assert best is not None
    return best
