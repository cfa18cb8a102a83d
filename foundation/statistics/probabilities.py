"""Sums of predicted probabilities and labels: how far they can be believed."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import UserError
from foundation.statistics.table import Floats, Integers, Table, columns, counted, once, ratio, summed

_EPSILON = np.finfo(np.float64).eps  # a certain error costs log loss finitely, as in scikit-learn
_SUMS = 4
THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(1, 100))


class CalibrationCurve(NamedTuple):
    """By bin of predicted probability, `[replicates, bins]` each; NaN where a bin is empty."""

    predicted: Floats
    observed: Floats
    patients: Integers


class DecisionCurve(NamedTuple):
    """Net benefit at the declared thresholds, `[replicates, thresholds]` each."""

    model: Floats
    treat_all: Floats


@dataclass(frozen=True, eq=False)
class ProbabilityTable(Table):
    """Of probabilities of a label, unrounded.

    Attributes:
        bins: number of equal bins from 0 to 1.
        thresholds: of the decision curve; a probability of at least it is treated.
        counts: patients by bin and label, `[replicates, bins, 2]`.
        sums: of probability, label, squared error and log loss by bin, `[replicates, bins, 4]`.
        treated: patients by threshold and label, `[replicates, thresholds, 2]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts", "sums", "treated")
    bins: int
    thresholds: tuple[float, ...]
    counts: Integers
    sums: Floats
    treated: Integers

    @classmethod
    def empty(
        cls, bins: int = 10, thresholds: tuple[float, ...] = THRESHOLDS, replicates: int = 0
    ) -> "ProbabilityTable":
        rows = 1 + replicates
        return cls(
            bins,
            thresholds,
            np.zeros((rows, bins, 2), dtype=np.int64),
            np.zeros((rows, bins, _SUMS)),
            np.zeros((rows, len(thresholds), 2), dtype=np.int64),
        )

    @classmethod
    def from_patients(
        cls,
        label: ArrayLike,
        probability: ArrayLike,
        weights: ArrayLike | None = None,
        bins: int = 10,
        thresholds: tuple[float, ...] = THRESHOLDS,
    ) -> "ProbabilityTable":
        """Of labels 0 and 1, NaN where unknown (such patients count nowhere), and probabilities, `[patients]` each.

        Raises:
            UserError: if a probability is none.
        """
        label, probability = np.asarray(label, dtype=np.float64), np.asarray(probability, dtype=np.float64)
        known = ~np.isnan(label)
        positive = label[known] == 1
        (p,) = columns(len(positive), probability=probability[known])
        if ((p < 0) | (p > 1)).any():
            raise UserError("statistics: a probability is outside 0 to 1; give probabilities, not scores")
        rows = once(weights, len(label))[:, known]
        cells = np.minimum((p * bins).astype(np.int64), bins - 1)
        clipped = np.clip(p, _EPSILON, 1 - _EPSILON)
        loss = -np.log(np.where(positive, clipped, 1 - clipped))
        values = rows[:, None] * np.stack([p, positive, (p - positive) ** 2, loss])
        passed = np.searchsorted(np.asarray(thresholds), p, side="right")  # thresholds at or below it
        steps = counted(passed * 2 + positive, (len(thresholds) + 1) * 2, rows)
        steps = steps.reshape(len(rows), len(thresholds) + 1, 2)
        return cls(
            bins,
            thresholds,
            counted(cells * 2 + positive, bins * 2, rows).reshape(len(rows), bins, 2),
            np.ascontiguousarray(summed(cells, bins, values).swapaxes(1, 2)),
            np.ascontiguousarray(np.cumsum(steps[:, ::-1], axis=1)[:, -2::-1]),
        )

    def outcomes(self) -> Integers:
        """Negatives and positives: `[replicates, 2]`."""
        return np.asarray(self.counts.sum(axis=1))

    def brier(self) -> Floats:
        """Mean squared error of the probability."""
        return self._mean(2)

    def log_loss(self) -> Floats:
        """Mean negative log likelihood."""
        return self._mean(3)

    def observed_to_expected(self) -> Floats:
        """Positives over the sum of their probabilities: calibration in the large."""
        sums = self.sums.sum(axis=1)
        return ratio(sums[:, 1], sums[:, 0])

    def ece(self) -> Floats:
        """Mean gap between predicted and observed frequency over the bins (Guo et al. 2017, eq. 3)."""
        gaps = np.abs(self.sums[:, :, 0] - self.sums[:, :, 1]).sum(axis=1)
        return ratio(gaps, self.outcomes().sum(axis=1))

    def calibration_curve(self) -> CalibrationCurve:
        """Mean probability and observed frequency by bin."""
        patients = self.counts.sum(axis=2)
        return CalibrationCurve(ratio(self.sums[:, :, 0], patients), ratio(self.sums[:, :, 1], patients), patients)

    def decision_curve(self) -> DecisionCurve:
        """Net benefit of treating by the model, and of treating everybody (Vickers & Elkin 2006); none is 0."""
        outcomes = self.outcomes()
        patients = outcomes.sum(axis=1, keepdims=True)
        at = np.asarray(self.thresholds)
        odds = at / (1 - at)
        return DecisionCurve(
            ratio(self.treated[:, :, 1] - self.treated[:, :, 0] * odds, patients),
            ratio(outcomes[:, 1:] - outcomes[:, :1] * odds, patients),
        )

    def _mean(self, column: int) -> Floats:
        return ratio(self.sums[:, :, column].sum(axis=1), self.outcomes().sum(axis=1))
