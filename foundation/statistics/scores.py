"""Positives and negatives by score: everything that ranks or cuts a score, exactly as on the rounded scores."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.statistics.grid import Grid
from foundation.statistics.table import Floats, Integers, Table, columns, counted, once, ratio


class Confusion(NamedTuple):
    """Patients by label and decision, `[replicates]` each."""

    true_negative: Integers
    false_positive: Integers
    false_negative: Integers
    true_positive: Integers


@dataclass(frozen=True, eq=False)
class ScoreTable(Table):
    """Patients by label (0, 1) and score.

    Attributes:
        scores: the grid.
        counts: `[replicates, 2, scores]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts",)
    scores: Grid
    counts: Integers

    @classmethod
    def empty(cls, scores: Grid, replicates: int = 0) -> "ScoreTable":
        return cls(scores, np.zeros((1 + replicates, 2, len(scores)), dtype=np.int64))

    @classmethod
    def from_patients(
        cls, label: ArrayLike, score: ArrayLike, scores: Grid, weights: ArrayLike | None = None
    ) -> "ScoreTable":
        """Of labels 0 and 1, NaN where unknown (such patients count nowhere), and scores, `[patients]` each."""
        label, score = np.asarray(label, dtype=np.float64), np.asarray(score, dtype=np.float64)
        known = ~np.isnan(label)
        (score,) = columns(int(known.sum()), score=score[known])
        cells = (label[known] == 1) * len(scores) + scores.index(score)
        counts = counted(cells, 2 * len(scores), once(weights, len(label))[:, known])
        return cls(scores, counts.reshape(len(counts), 2, len(scores)))

    def outcomes(self) -> Integers:
        """Negatives and positives: `[replicates, 2]`."""
        return np.asarray(self.counts.sum(axis=2))

    def roc(self) -> tuple[Floats, Floats]:
        """False and true positive rates, from the strictest threshold to none: `[replicates, 1 + scores]` each."""
        above = np.cumsum(self.counts[:, :, ::-1], axis=2)
        rates = ratio(np.pad(above, ((0, 0), (0, 0), (1, 0))), self.outcomes()[:, :, None])
        return rates[:, 0], rates[:, 1]

    def auroc(self) -> Floats:
        """Area under the ROC curve (Mann–Whitney; a tie counts half): `[replicates]`."""
        negative, positive = self.counts[:, 0], self.counts[:, 1]
        below = np.cumsum(negative, axis=1) - negative
        outcomes = self.outcomes()
        return ratio((positive * (2 * below + negative)).sum(axis=1), 2 * outcomes[:, 0] * outcomes[:, 1])

    def auroc_bounds(self) -> tuple[Floats, Floats]:
        """What the area of the scores before rounding cannot leave: `[replicates]` each."""
        negative, positive = self.counts[:, 0], self.counts[:, 1]
        pairs = self.outcomes().prod(axis=1)
        below = (positive * (np.cumsum(negative, axis=1) - negative)).sum(axis=1)
        return ratio(below, pairs), ratio(below + (positive * negative).sum(axis=1), pairs)

    def auprc(self) -> Floats:
        """Average precision: precision at each score, weighted by the recall gained there; no interpolation."""
        positive = self.counts[:, 1, ::-1]
        above = np.cumsum(self.counts[:, :, ::-1], axis=2)
        precision = np.nan_to_num(ratio(above[:, 1], above.sum(axis=1)))
        negatives, positives = self.outcomes().T
        return np.where(negatives > 0, ratio((positive * precision).sum(axis=1), positives), np.nan)

    def delong_variance(self) -> Floats:
        """Variance of the AUROC (DeLong, DeLong & Clarke-Pearson 1988): `[replicates]`."""
        place = placements(self.counts[:, 0], self.counts[:, 1])
        pieces = [_variance(values, counts) for values, counts in zip(place, self.counts.swapaxes(0, 1), strict=True)]
        return np.asarray(sum(pieces))

    def confusion(self, threshold: float) -> Confusion:
        """Decisions where a score of at least the threshold is positive."""
        cut = self.scores.from_cell(threshold)
        below, above = self.counts[:, :, :cut].sum(axis=2), self.counts[:, :, cut:].sum(axis=2)
        return Confusion(below[:, 0], above[:, 0], below[:, 1], above[:, 1])

    def sensitivity(self, threshold: float) -> Floats:
        """Share of positives at or above the threshold."""
        at = self.confusion(threshold)
        return ratio(at.true_positive, at.true_positive + at.false_negative)

    def specificity(self, threshold: float) -> Floats:
        """Share of negatives below the threshold."""
        at = self.confusion(threshold)
        return ratio(at.true_negative, at.true_negative + at.false_positive)

    def balanced_accuracy(self, threshold: float = 0.5) -> Floats:
        """Mean of sensitivity and specificity."""
        return (self.sensitivity(threshold) + self.specificity(threshold)) / 2

    def accuracy(self, threshold: float = 0.5) -> Floats:
        """Share of patients decided as labelled."""
        at = self.confusion(threshold)
        return ratio(at.true_positive + at.true_negative, sum(at))

    def f1(self, threshold: float = 0.5) -> Floats:
        """Harmonic mean of precision and sensitivity; NaN where nobody is, or is called, positive."""
        at = self.confusion(threshold)
        return ratio(2 * at.true_positive, 2 * at.true_positive + at.false_positive + at.false_negative)

    def sensitivity_at_specificity(self, specificity: float) -> Floats:
        """The highest sensitivity of a threshold whose specificity is at least this: `[replicates]`."""
        false, true = self.roc()
        negatives, positives = self.outcomes().T
        # Counts decide, for 1 - 0.95 in floats is not 0.05.
        allowed = np.rint(false * np.maximum(negatives, 1)[:, None]) <= np.floor(
            negatives * (1 - specificity) + 1e-9
        ).reshape(-1, 1)
        best = np.where(allowed, true, 0.0).max(axis=1)
        return np.where((negatives > 0) & (positives > 0), best, np.nan)


@dataclass(frozen=True, eq=False)
class PairedScoreTable(Table):
    """Patients by label and the scores of two models: what the exact paired DeLong test needs.

    Attributes:
        first: grid of the one model's scores.
        second: of the other's.
        counts: `[replicates, 2, first, second]`; cells are few patients each, so it seldom may leave a hospital.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts",)
    first: Grid
    second: Grid
    counts: Integers

    @classmethod
    def empty(cls, first: Grid, second: Grid) -> "PairedScoreTable":
        return cls(first, second, np.zeros((1, 2, len(first), len(second)), dtype=np.int64))

    @classmethod
    def from_patients(
        cls, label: ArrayLike, one: ArrayLike, other: ArrayLike, first: Grid, second: Grid
    ) -> "PairedScoreTable":
        """Of labels 0 and 1, NaN where unknown, and both models' scores, `[patients]` each."""
        label = np.asarray(label, dtype=np.float64)
        known = ~np.isnan(label)
        count = int(known.sum())
        one, other = columns(count, one=np.asarray(one)[known], other=np.asarray(other)[known])
        cells = ((label[known] == 1) * len(first) + first.index(one)) * len(second) + second.index(other)
        counts = counted(cells, 2 * len(first) * len(second), once(None, count))
        return cls(first, second, counts.reshape(1, 2, len(first), len(second)))

    def margins(self) -> tuple[ScoreTable, ScoreTable]:
        """Each model's own table."""
        return ScoreTable(self.first, self.counts.sum(axis=3)), ScoreTable(self.second, self.counts.sum(axis=2))

    def difference_variance(self) -> Floats:
        """Variance of the first AUROC less the second (DeLong et al. 1988): `[1]`."""
        places = [placements(table.counts[:, 0], table.counts[:, 1]) for table in self.margins()]
        gaps = [one[:, :, None] - other[:, None, :] for one, other in zip(*places, strict=True)]
        pieces = [
            _variance(gap.reshape(1, -1), self.counts[:, outcome].reshape(1, -1)) for outcome, gap in enumerate(gaps)
        ]
        return np.asarray(sum(pieces))


def placements(negative: NDArray[Any], positive: NDArray[Any]) -> tuple[Floats, Floats]:
    """Per score: share of positives above it, and share of negatives below it, ties half: `[replicates, scores]`."""
    above = positive.sum(axis=1, keepdims=True) - np.cumsum(positive, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    return (
        ratio(2 * above + positive, 2 * positive.sum(axis=1, keepdims=True)),
        ratio(2 * below + negative, 2 * negative.sum(axis=1, keepdims=True)),
    )


def _variance(values: NDArray[Any], counts: NDArray[Any]) -> Floats:
    """Sample variance of values that so many patients have, over their number."""
    count = counts.sum(axis=1)
    mean = ratio((counts * values).sum(axis=1), count)
    squares = (counts * (values - mean[:, None]) ** 2).sum(axis=1)
    return ratio(squares, np.maximum(count - 1, 0) * count)
