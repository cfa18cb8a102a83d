"""Sums of predicted and observed quantities: errors, explained variance, correlation."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from foundation.statistics.table import Floats, Integers, Table, columns, counted, once, ratio

_SUMS = 8


@dataclass(frozen=True, eq=False)
class RegressionTable(Table):
    """Of a predicted quantity.

    Attributes:
        centre: a declared value near the mean, such as the training patients'; taken off before squaring, so that a
            quantity far from zero loses no digits.
        counts: patients, `[replicates, 1]`.
        sums: of error, absolute error, squared error; of observed, its square, predicted, its square, and their
            product (all centred): `[replicates, 8]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts", "sums")
    centre: float
    counts: Integers
    sums: Floats

    @classmethod
    def empty(cls, centre: float = 0.0, replicates: int = 0) -> "RegressionTable":
        return cls(centre, np.zeros((1 + replicates, 1), dtype=np.int64), np.zeros((1 + replicates, _SUMS)))

    @classmethod
    def from_patients(
        cls, observed: ArrayLike, predicted: ArrayLike, centre: float = 0.0, weights: ArrayLike | None = None
    ) -> "RegressionTable":
        """Of observed values, NaN where unknown (such patients are left out), and predicted ones."""
        observed, predicted = np.asarray(observed, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
        known = ~np.isnan(observed)
        rows = once(weights, len(observed))[:, known]
        y, p = columns(int(known.sum()), observed=observed[known], predicted=predicted[known])
        error, y, p = p - y, y - centre, p - centre
        values = np.stack([error, np.abs(error), error**2, y, y**2, p, p**2, y * p], axis=1)
        return cls(centre, counted(np.zeros(len(y), dtype=np.int64), 1, rows), rows @ values)

    def outcomes(self) -> Integers:
        """Patients: `[replicates, 1]`."""
        return self.counts

    def mean_error(self) -> Floats:
        """Mean of predicted less observed."""
        return self._mean(0)

    def mae(self) -> Floats:
        """Mean absolute error."""
        return self._mean(1)

    def rmse(self) -> Floats:
        """Root of the mean squared error."""
        return np.sqrt(self._mean(2))

    def r2(self) -> Floats:
        """Share of the observed variance explained, about the mean of these patients."""
        return 1 - ratio(self.sums[:, 2], self._spread(3, 3, 4))

    def pearson(self) -> Floats:
        """Correlation of predicted and observed."""
        scale = self._spread(3, 3, 4) * self._spread(5, 5, 6)
        return ratio(self._spread(3, 5, 7), np.sqrt(np.maximum(scale, 0)))

    def _mean(self, column: int) -> Floats:
        return ratio(self.sums[:, column], self.counts[:, 0])

    def _spread(self, one: int, other: int, product: int) -> Floats:
        means = ratio(self.sums[:, one] * self.sums[:, other], self.counts[:, 0])
        return np.asarray(self.sums[:, product] - means)
