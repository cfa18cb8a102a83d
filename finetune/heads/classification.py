"""Classification: cross-entropy with class weights, calibrated after training."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from finetune.baseline import logistic
from finetune.calibration import fit_temperature
from finetune.experts.responses import Label, Response
from finetune.heads.base import (
    PROBABILITY,
    Blocks,
    Columns,
    Head,
    TargetCounts,
    Targets,
    balanced_weights,
    object_schema,
    readout,
)
from finetune.heads.regions import ClassSets
from finetune.metrics import Column, Metric, binary_metrics, multiclass_metrics
from finetune.statistics.base import TaskStatistics
from finetune.statistics.binary import BinaryStatistics
from finetune.statistics.multiclass import MulticlassStatistics
from foundation.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINARY = ("negative", "positive")


class Classification(Head):
    """A linear head over classes.

    Args:
        width: of the patient embedding.
        target: label column that holds the class index.
        classes: names in the order of their index; the last one is the positive class of a binary task.
        class_weights: of the loss, by class.
        dropout: on the embedding.
        blocks: sizes of blocks of features, to be read by experts instead of the embedding.
    """

    kind = "classification"
    separable = True
    class_weights: Tensor
    log_scale: Tensor
    shift: Tensor

    def __init__(
        self,
        width: int,
        target: str,
        classes: list[str] | None = None,
        class_weights: list[float] | None = None,
        dropout: float = 0.1,
        blocks: Blocks | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.target = target
        self.targets = [target]
        self.classes = list(classes or _BINARY)
        self.dropout = dropout
        self.weighted = class_weights is not None
        # Experts of two classes tell one's log-odds; of more, each class's against the others.
        outputs = 1 if blocks is not None and self._binary else len(self.classes)
        self.score = readout(width, outputs, dropout, blocks)
        weights = class_weights or [1.0] * len(self.classes)
        self.register_buffer("class_weights", torch.tensor(weights, dtype=torch.float))
        self.register_buffer("log_scale", torch.zeros(1))
        self.register_buffer("shift", torch.zeros(len(self.classes)))

    def check(self, counts: TargetCounts) -> None:
        name, values = self.target, counts.by_target[self.target]
        others = [value for value in values if value not in range(len(self.classes))]
        if others:
            raise UserError(
                f"task.head: '{name}' holds {others[0]:g}, but classes are {len(self.classes)} "
                f"({', '.join(self.classes)}), written 0 to {len(self.classes) - 1}; "
                "name every class in task.head.classes"
            )
        if len(values) == 1:
            raise UserError(
                f"task.head: all {counts.patients} training patients have {name} = {next(iter(values)):g}; "
                "train on hospitals that hold at least two classes (data.test_hospitals)"
            )

    def set_counts(self, counts: TargetCounts) -> None:
        """Weights inverse to how often a class occurs, so that each weighs the same; those of the config stay."""
        if not self.weighted:
            self.class_weights.copy_(torch.tensor(balanced_weights(self._by_class(counts))))

    def settings(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "target": self.target,
            "classes": self.classes,
            "class_weights": self.class_weights.tolist(),
            "dropout": self.dropout,
            "blocks": self.saved_blocks,
        }

    def responses(self, targets: Columns) -> list[Response]:
        label = targets[self.target]
        others = [1] if self._binary else range(len(self.classes))
        return [Label(np.where(np.isnan(label), np.nan, label == index)) for index in others]

    def scores_of(self, scores: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch classes"]:
        """A negative class of log-odds zero beside those of the positive one."""
        return functional.pad(scores, (1, 0)) if self.reads_features and self._binary else scores

    def loss(self, scores: Float[Tensor, "batch classes"], targets: Targets) -> Tensor:
        """Weighted cross-entropy: the mean over patients, whose weights do not hang on who shares their batch.

        Divided by the weights of its batch, as torch does, two processes would learn another head than one.
        """
        label = targets[self.target].long()
        return functional.cross_entropy(scores, label, weight=self.class_weights, reduction="none").mean()

    def calibrate(
        self, scores: Float[Tensor, "validation classes"], targets: Targets, train: tuple[Tensor, Targets]
    ) -> None:
        """Temperature and a shift a class (Guo et al. 2017), drawn towards none: validation parts are small."""
        scores, label = scores.detach(), targets[self.target].long()
        fit_temperature(
            lambda scale, shift: functional.cross_entropy(scores * scale + shift, label), self.log_scale, self.shift
        )

    def predict(self, scores: Float[Tensor, "batch classes"]) -> list[dict[str, Any]]:
        return [
            {
                "class": self.classes[int(row.argmax())],
                "probabilities": dict(zip(self.classes, row.tolist(), strict=True)),
            }
            for row in self._probabilities(scores)
        ]

    def prediction_schema(self) -> dict[str, Any]:
        probabilities = object_schema(dict.fromkeys(self.classes, PROBABILITY))
        return object_schema({"class": {"enum": self.classes}, "probabilities": probabilities})

    def estimate(self, scores: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch *classes"]:
        """Calibrated probability of the positive class, or of each class where there are more than two."""
        probabilities = self._probabilities(scores)
        return probabilities[:, -1] if self._binary else probabilities

    def regions(self) -> ClassSets:
        return ClassSets(self.target, self.classes, self._probabilities)

    def metrics(self) -> dict[str, Metric]:
        return binary_metrics() if self._binary else multiclass_metrics(self.classes)

    def statistics(self) -> TaskStatistics:
        if self._binary:
            return BinaryStatistics(self.target, self.classes[-1])
        return MulticlassStatistics(self.target, self.classes)

    def outcomes(self, counts: TargetCounts) -> dict[str, int]:
        by_class = self._by_class(counts)
        if self._binary:
            return {"events": by_class[-1]}
        return {f"{name} patients": count for name, count in zip(self.classes, by_class, strict=True)}

    def baseline(self, train: pd.DataFrame, targets: Columns, test: pd.DataFrame) -> Column:
        probabilities = logistic(train, targets[self.target], test, len(self.classes))
        return probabilities[:, -1] if self._binary else probabilities

    def plot(self, axes: "Axes", targets: Columns, estimates: Column) -> None:
        """ROC curves: of the positive class, or of each class against the others."""
        label = targets[self.target]
        curves = {"": (label, estimates)}
        if not self._binary:
            curves = {name: (label == index, estimates[:, index]) for index, name in enumerate(self.classes)}
        from finetune.plots import roc_curves  # here, for serving draws nothing

        roc_curves(axes, curves)

    @property
    def _binary(self) -> bool:
        return len(self.classes) == 2

    def _by_class(self, counts: TargetCounts) -> list[int]:
        return [counts.by_target[self.target].get(index, 0) for index in range(len(self.classes))]

    def _probabilities(self, scores: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        return (scores * self.log_scale.exp() + self.shift).softmax(dim=-1)
