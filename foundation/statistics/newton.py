"""Newton's method over hospitals: each sends log-likelihood, gradient and information, which are summed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foundation.statistics.table import Floats, Table, ratio

_CONVERGED = 1e-18  # of the decrement: the last step is then below 1e-9 standard errors
_HALVINGS = 30
_STEPS = 60


@dataclass(frozen=True, eq=False)
class NewtonSums(Table):
    """What patients say of coefficients, at one value of them.

    Attributes:
        log_likelihood: `[replicates]`.
        gradient: of it, `[replicates, width]`.
        information: its negative second derivatives, `[replicates, width, width]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("log_likelihood", "gradient", "information")
    log_likelihood: Floats
    gradient: Floats
    information: Floats

    @classmethod
    def empty(cls, width: int, replicates: int = 0) -> "NewtonSums":
        rows = 1 + replicates
        return cls(np.zeros(rows), np.zeros((rows, width)), np.zeros((rows, width, width)))


class Newton:
    """Newton's method with halved steps, for all replicates at once: the same at one place and by messages.

        newton = Newton(width)
        while not newton.done:
            newton.update(total(sums_of_a_hospital(newton.beta) for hospital in hospitals))

    Args:
        width: coefficients.
        replicates: of the bootstrap.
        ridge: half of it times the sum of squared coefficients is taken off the log-likelihood.

    Attributes:
        beta: `[1 + replicates, width]`, for which sums are wanted next, or, when done, the estimate. NaN where the
            likelihood has no highest point, such as where the outcomes are fully apart.
        covariance: inverse information, `[1 + replicates, width, width]`.
        log_likelihood: `[1 + replicates]`, without the ridge.
        rounds: updates so far.
    """

    def __init__(self, width: int, replicates: int = 0, ridge: float = 0.0) -> None:
        rows = 1 + replicates
        self.ridge = ridge
        self.rounds = 0
        self.beta = np.zeros((rows, width))
        self.covariance = np.full((rows, width, width), np.nan)
        self.log_likelihood = np.full(rows, np.nan)
        self._best = np.full(rows, -np.inf)
        self._from = np.zeros((rows, width))
        self._step = np.zeros((rows, width))
        self._halved = np.zeros(rows, dtype=np.int64)
        self._finished = np.zeros(rows, dtype=bool)

    @property
    def done(self) -> bool:
        return bool(self._finished.all())

    @property
    def standard_error(self) -> Floats:
        """Of the coefficients, `[1 + replicates, width]`."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2)))

    def update(self, sums: NewtonSums) -> None:
        """Takes the sums of all hospitals at `beta`, and moves it."""
        self.rounds += 1
        value = sums.log_likelihood - self.ridge / 2 * (self.beta**2).sum(axis=1)
        for row in np.flatnonzero(~self._finished).tolist():
            # Rounding may lower the likelihood near its top by as much as the sum's last digits.
            slack = 1e-12 * max(1.0, abs(self._best[row])) if np.isfinite(self._best[row]) else 0.0
            if not value[row] >= self._best[row] - slack and self._halved[row] < _HALVINGS:
                self._halved[row] += 1
                self._step[row] /= 2
                self.beta[row] = self._from[row] + self._step[row]
            else:
                self._advance(row, float(value[row]), sums)
        if self.rounds >= _STEPS:
            self.beta[~self._finished] = np.nan
            self._finished[:] = True

    def _advance(self, row: int, value: float, sums: NewtonSums) -> None:
        gradient = sums.gradient[row] - self.ridge * self.beta[row]
        information = sums.information[row] + self.ridge * np.eye(len(gradient))
        inverse = _inverse(information)
        if inverse is None:
            self.beta[row] = np.nan
            self._finished[row] = True
            return
        step = inverse @ gradient
        self.covariance[row] = inverse
        self.log_likelihood[row] = sums.log_likelihood[row]
        self._best[row], self._halved[row] = value, 0
        self._from[row], self._step[row] = self.beta[row], step
        self.beta[row] = self.beta[row] + step
        self._finished[row] = gradient @ step < _CONVERGED


def _inverse(information: Floats) -> Floats | None:
    """The inverse, scaled first so that covariates in any unit are judged alike; None where it has none."""
    scale = np.sqrt(np.diagonal(information))
    if not (np.isfinite(information).all() and (scale > 0).all()):
        return None
    scaled = information / np.outer(scale, scale)
    if np.linalg.eigvalsh(scaled)[0] < 1e-10:
        return None
    return np.asarray(ratio(np.linalg.inv(scaled), np.outer(scale, scale)))
