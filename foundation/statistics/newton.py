"""Newton's method over hospitals: each sends log-likelihood, gradient and information, which are summed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from foundation.statistics.table import Floats, Integers, Table

_CONVERGED = 1e-18  # of the decrement: the last step is then below 1e-9 standard errors
_SINGULAR = 1e-10  # smallest eigenvalue of the information, on a unit diagonal
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
        # Rounding may lower the likelihood near its top by as much as the sum's last digits.
        slack = np.where(np.isfinite(self._best), 1e-12 * np.maximum(1.0, np.abs(self._best)), 0.0)
        worse = ~(value >= self._best - slack) & (self._halved < _HALVINGS)
        halved, moved = ~self._finished & worse, ~self._finished & ~worse
        self._halved[halved] += 1
        self._step[halved] /= 2
        self.beta[halved] = self._from[halved] + self._step[halved]
        self._advance(np.flatnonzero(moved), value, sums)
        if self.rounds >= _STEPS:
            self.beta[~self._finished] = np.nan
            self._finished[:] = True

    def _advance(self, rows: Integers, value: Floats, sums: NewtonSums) -> None:
        gradient = sums.gradient[rows] - self.ridge * self.beta[rows]
        information = sums.information[rows] + self.ridge * np.eye(gradient.shape[1])
        inverse, regular = _inverses(information)
        self.beta[rows[~regular]] = np.nan
        self._finished[rows[~regular]] = True
        rows, gradient, inverse = rows[regular], gradient[regular], inverse[regular]
        step = np.einsum("rij,rj->ri", inverse, gradient)
        self.covariance[rows] = inverse
        self.log_likelihood[rows] = sums.log_likelihood[rows]
        self._best[rows], self._halved[rows] = value[rows], 0
        self._from[rows], self._step[rows] = self.beta[rows], step
        self.beta[rows] += step
        self._finished[rows] = (gradient * step).sum(axis=1) < _CONVERGED


def _inverses(information: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Inverses `[rows, width, width]` and which exist; scaled first, so that units do not matter."""
    scale = np.sqrt(np.maximum(np.diagonal(information, axis1=1, axis2=2), 0))
    regular = np.asarray(np.isfinite(information).all(axis=(1, 2)) & (scale > 0).all(axis=1))
    outer = np.where(regular[:, None, None], scale[:, :, None] * scale[:, None, :], 1.0)
    scaled = np.where(regular[:, None, None], information / outer, np.eye(information.shape[1]))
    regular &= np.linalg.eigvalsh(scaled)[:, 0] >= _SINGULAR
    scaled[~regular] = np.eye(information.shape[1])
    return np.linalg.inv(scaled) / outer, regular
