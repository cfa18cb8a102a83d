"""Sums of answers: whether regions hold the truth, who is answered at all, what wrong answers cost by confidence."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from foundation.statistics.table import Floats, Integers, Table, once, ratio, summed

STEPS = 100  # of confidence, from 0 to 1
_COUNTS, _SUMS = 7, 2


class RiskCoverageCurve(NamedTuple):
    """By confidence, the highest first, `[replicates, cells]`: share answered so far, and their mean loss."""

    coverage: Floats
    risk: Floats


@dataclass(frozen=True, eq=False)
class AnswerTable(Table):
    """Of answers with regions.

    Attributes:
        steps: of confidence.
        counts: patients; truths known; truths inside their region; regions that have a size; patients flagged as out of
            distribution; patients abstained on; patients answered whose loss is known: `[replicates, 7]`.
        sums: of regions' sizes, and of the loss of those answered: `[replicates, 2]`.
        by_confidence: patients whose loss is known, and their loss, by confidence: `[replicates, steps + 1, 2]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts", "sums", "by_confidence")
    steps: int
    counts: Integers
    sums: Floats
    by_confidence: Floats

    @classmethod
    def empty(cls, replicates: int = 0, steps: int = STEPS) -> "AnswerTable":
        rows = 1 + replicates
        counts = np.zeros((rows, _COUNTS), dtype=np.int64)
        return cls(steps, counts, np.zeros((rows, _SUMS)), np.zeros((rows, steps + 1, 2)))

    @classmethod
    def from_patients(
        cls,
        truths: ArrayLike,
        inside: ArrayLike,
        size: ArrayLike,
        flagged: ArrayLike,
        abstained: ArrayLike,
        loss: ArrayLike,
        confidence: ArrayLike,
        weights: ArrayLike | None = None,
        steps: int = STEPS,
    ) -> "AnswerTable":
        """Of columns `[patients]`.

        Args:
            truths: how many are known of a patient: one, or as many as there are labels.
            inside: how many of them their region holds.
            size: of the region; NaN where it has none.
            flagged: 0 or 1.
            abstained: 0 or 1.
            loss: of the answer; NaN where the truth is unknown.
            confidence: from 0 to 1.
            weights: how often each patient counts, `[replicates, patients]`.
            steps: of confidence.
        """
        truths, inside, size, flagged, abstained, loss, confidence = (
            np.asarray(column, dtype=np.float64)
            for column in (truths, inside, size, flagged, abstained, loss, confidence)
        )
        rows = once(weights, len(truths)).astype(np.float64)
        known, sized = ~np.isnan(loss), ~np.isnan(size)
        answered = known & (abstained == 0)
        counted = [np.ones(len(truths)), truths, inside, sized, flagged, abstained, answered]
        cost = np.where(known, loss, 0.0)
        sums = [np.where(sized, size, 0.0), np.where(answered, cost, 0.0)]
        cells = np.rint(np.clip(confidence, 0, 1) * steps).astype(np.int64)
        by_confidence = [summed(cells, steps + 1, rows * column) for column in (known, cost)]
        return cls(
            steps,
            np.rint(rows @ np.stack(counted, axis=1)).astype(np.int64),
            rows @ np.stack(sums, axis=1),
            np.stack(by_confidence, axis=2),
        )

    def coverage(self) -> Floats:
        """Share of known truths that lie inside their region."""
        return ratio(self.counts[:, 2], self.counts[:, 1])

    def mean_size(self) -> Floats:
        """Of regions that have one."""
        return ratio(self.sums[:, 0], self.counts[:, 3])

    def flagged(self) -> Floats:
        """Share of patients out of distribution."""
        return ratio(self.counts[:, 4], self.counts[:, 0])

    def abstained(self) -> Floats:
        """Share of patients who get no answer."""
        return ratio(self.counts[:, 5], self.counts[:, 0])

    def risk_answered(self) -> Floats:
        """Mean loss of those who get one."""
        return ratio(self.sums[:, 1], self.counts[:, 6])

    def risk(self) -> Floats:
        """Mean loss of everybody, had all been answered."""
        return ratio(self.by_confidence[:, :, 1].sum(axis=1), self.by_confidence[:, :, 0].sum(axis=1))

    def risk_coverage(self) -> RiskCoverageCurve:
        """Mean loss of the most confident answers, by how many they are (El-Yaniv & Wiener 2010); ties together."""
        patients, loss = np.moveaxis(self.by_confidence[:, ::-1].cumsum(axis=1), 2, 0)
        return RiskCoverageCurve(ratio(patients, patients[:, -1:]), ratio(loss, patients))

    def area_under_risk_coverage(self) -> Floats:
        """Mean, over patients, of the risk when all as confident are answered (Geifman et al. 2019); less is better."""
        curve = self.risk_coverage()
        share = np.diff(curve.coverage, axis=1, prepend=0.0)
        area = np.nansum(share * np.nan_to_num(curve.risk), axis=1)
        return np.where(self.by_confidence[:, :, 0].sum(axis=1) > 0, area, np.nan)
