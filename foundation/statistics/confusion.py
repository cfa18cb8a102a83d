"""Several classes that exclude one another: decisions by class, and sums of probabilities."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import UserError
from foundation.statistics.table import Floats, Integers, Table, columns, counted, once, ratio

_EPSILON = np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class ConfusionTable(Table):
    """Patients by class and by the class of highest probability.

    Attributes:
        classes: how many there are.
        counts: `[replicates, classes, decided]`.
        sums: of the squared error over classes and of log loss, `[replicates, 2]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts", "sums")
    classes: int
    counts: Integers
    sums: Floats

    @classmethod
    def empty(cls, classes: int, replicates: int = 0) -> "ConfusionTable":
        rows = 1 + replicates
        return cls(classes, np.zeros((rows, classes, classes), dtype=np.int64), np.zeros((rows, 2)))

    @classmethod
    def from_patients(
        cls, label: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None
    ) -> "ConfusionTable":
        """Of class indices `[patients]` and probabilities `[patients, classes]`, which are taken relative to their sum.

        Raises:
            UserError: if an index is no class.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        label, p = columns(len(p), label=label, probabilities=p)
        classes = p.shape[1]
        if len(label) and not np.isin(label, np.arange(classes)).all():
            raise UserError(f"statistics: a label is none of 0 to {classes - 1}; name every class")
        rows = once(weights, len(label))
        index = label.astype(np.int64)
        p = p / p.sum(axis=1, keepdims=True)
        truth = np.eye(classes)[index]
        loss = -np.log(np.clip(p[np.arange(len(p)), index], _EPSILON, 1 - _EPSILON))
        counts = counted(index * classes + p.argmax(axis=1), classes**2, rows)
        sums = rows @ np.stack([((p - truth) ** 2).sum(axis=1), loss], axis=1)
        return cls(classes, counts.reshape(len(rows), classes, classes), sums)

    def outcomes(self) -> Integers:
        """Patients by class: `[replicates, classes]`."""
        return np.asarray(self.counts.sum(axis=2))

    def accuracy(self) -> Floats:
        """Share of patients whose class has the highest probability."""
        return ratio(np.trace(self.counts, axis1=1, axis2=2), self.counts.sum(axis=(1, 2)))

    def balanced_accuracy(self) -> Floats:
        """Mean recall over classes; NaN where a class has nobody."""
        return np.asarray(ratio(np.diagonal(self.counts, axis1=1, axis2=2), self.outcomes()).mean(axis=1))

    def f1_macro(self) -> Floats:
        """Mean over classes of F1 against the others; NaN where a class has nobody."""
        right = np.diagonal(self.counts, axis1=1, axis2=2)
        by_class = ratio(2 * right, self.outcomes() + self.counts.sum(axis=1))
        return np.where((self.outcomes() > 0).all(axis=1), by_class.mean(axis=1), np.nan)

    def brier(self) -> Floats:
        """Mean over patients of the squared error summed over classes (Brier 1950)."""
        return ratio(self.sums[:, 0], self.counts.sum(axis=(1, 2)))

    def log_loss(self) -> Floats:
        """Mean negative log likelihood of the class."""
        return ratio(self.sums[:, 1], self.counts.sum(axis=(1, 2)))
