"""Multi-label classification: several yes-or-no labels of a patient, any of which may be unknown."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
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
from finetune.heads.regions import LabelSets
from finetune.metrics import Column, Metric, binary_metrics
from finetune.statistics.binary import MultiLabelStatistics
from foundation.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class MultiLabel(Head):
    """A linear head with a logit a label; an unknown label neither teaches nor judges.

    Args:
        width: of the patient embedding.
        labels: label columns, 0 or 1, blank where unknown.
        class_weights: of the loss, by label for 0 and 1.
        dropout: on the embedding.
        blocks: sizes of blocks of features, to be read by experts instead of the embedding.
    """

    kind = "multi-label classification"
    separable = True
    class_weights: Tensor
    log_scale: Tensor
    shift: Tensor

    def __init__(
        self,
        width: int,
        labels: list[str],
        class_weights: list[list[float]] | None = None,
        dropout: float = 0.1,
        blocks: Blocks | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.targets = list(labels)
        self.dropout = dropout
        self.weighted = class_weights is not None
        self.score = readout(width, len(labels), dropout, blocks)
        weights = class_weights or [[1.0, 1.0]] * len(labels)
        self.register_buffer("class_weights", torch.tensor(weights, dtype=torch.float))
        self.register_buffer("log_scale", torch.zeros(len(labels)))
        self.register_buffer("shift", torch.zeros(len(labels)))

    def usable(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Patients of whom at least one label is known."""
        return np.asarray(table[self.targets].notna().any(axis=1))

    def check(self, counts: TargetCounts) -> None:
        for name, values in counts.by_target.items():
            others = [value for value in values if value not in (0, 1)]
            if others:
                raise UserError(f"task.head: '{name}' holds {others[0]:g}; write 0 or 1, and nothing where unknown")
            if len(values) < 2:
                have = f"have {name} = {next(iter(values)):g}" if values else f"have no known {name}"
                raise UserError(
                    f"task.head: all training patients {have}; drop it from task.head.labels, or train on hospitals "
                    "that hold both (data.test_hospitals)"
                )

    def set_counts(self, counts: TargetCounts) -> None:
        """Weights inverse to how often a label is 0 and 1, so that each weighs the same; those of the config stay."""
        if not self.weighted:
            by_label = [counts.by_target[name] for name in self.targets]
            weights = [balanced_weights([values.get(0, 0), values.get(1, 0)]) for values in by_label]
            self.class_weights.copy_(torch.tensor(weights))

    def settings(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "labels": self.targets,
            "class_weights": self.class_weights.tolist(),
            "dropout": self.dropout,
            "blocks": self.saved_blocks,
        }

    def responses(self, targets: Columns) -> list[Response]:
        return [Label(targets[name]) for name in self.targets]

    def loss(self, scores: Float[Tensor, "batch labels"], targets: Targets) -> Tensor | None:
        """Weighted cross-entropy: the mean over a patient's known labels, then over the patients who have any."""
        label, known = self._known(targets)
        trained = known.any(dim=1)
        if not bool(trained.any()):
            return None
        weights = torch.where(label == 1, self.class_weights[:, 1], self.class_weights[:, 0])
        losses = functional.binary_cross_entropy_with_logits(scores, label, weights, reduction="none") * known
        return (losses.sum(dim=1)[trained] / known.sum(dim=1)[trained]).mean()

    def calibrate(
        self, scores: Float[Tensor, "validation labels"], targets: Targets, train: tuple[Tensor, Targets]
    ) -> None:
        """A temperature and a shift a label, each from the validation patients of whom it is known."""
        scores = scores.detach()
        label, known = self._known(targets)

        def loss(scale: Tensor, shift: Tensor) -> Tensor:
            losses = functional.binary_cross_entropy_with_logits(scores * scale + shift, label, reduction="none")
            return ((losses * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)).sum()

        fit_temperature(loss, self.log_scale, self.shift)

    def predict(self, scores: Float[Tensor, "batch labels"]) -> list[dict[str, Any]]:
        rows = self.estimate(scores).tolist()
        return [{"labels": dict(zip(self.targets, row, strict=True))} for row in rows]

    def prediction_schema(self) -> dict[str, Any]:
        return object_schema({"labels": object_schema(dict.fromkeys(self.targets, PROBABILITY))})

    def estimate(self, scores: Float[Tensor, "batch labels"]) -> Float[Tensor, "batch labels"]:
        """Calibrated probability of each label."""
        return (scores * self.log_scale.exp() + self.shift).sigmoid()

    def regions(self) -> LabelSets:
        return LabelSets(self.targets, self.estimate)

    def metrics(self) -> dict[str, Metric]:
        """Means over the labels that are defined, then each label by itself."""
        by_label = {
            name: {f"{name}/{label}": _of_known(metric, place) for place, label in enumerate(self.targets)}
            for name, metric in binary_metrics().items()
        }
        means = {name: _mean_of_defined(list(metrics.values())) for name, metrics in by_label.items()}
        return {**means, **{key: metric for metrics in by_label.values() for key, metric in metrics.items()}}

    def statistics(self) -> MultiLabelStatistics:
        return MultiLabelStatistics(self.targets)

    def outcomes(self, counts: TargetCounts) -> dict[str, int]:
        columns: dict[str, int] = {}
        for name, values in counts.by_target.items():
            columns |= {f"{name} known": sum(values.values()), f"{name} positive": values.get(1, 0)}
        return columns

    def baseline(self, train: pd.DataFrame, targets: Columns, test: pd.DataFrame) -> Column:
        columns = []
        for name in self.targets:
            known = ~np.isnan(targets[name])
            columns.append(logistic(train[known], targets[name][known], test, 2)[:, 1])
        return np.stack(columns, axis=1)

    def plot(self, axes: "Axes", targets: Columns, estimates: Column) -> None:
        """ROC curves, one a label."""
        curves = {}
        for place, name in enumerate(self.targets):
            known = ~np.isnan(targets[name])
            curves[name] = (targets[name][known], estimates[known, place])
        from finetune.plots import roc_curves  # here, for serving draws nothing

        roc_curves(axes, curves)

    def _known(self, targets: Targets) -> tuple[Float[Tensor, "batch labels"], Bool[Tensor, "batch labels"]]:
        """Labels with 0 where they are unknown, and where they are known."""
        label = torch.stack([targets[name] for name in self.targets], dim=1)
        return label.nan_to_num(), ~label.isnan()


def _of_known(metric: Metric, place: int) -> Metric:
    """A metric of one label, over the patients of whom it is known."""

    def value(*columns: Column) -> float:
        label, estimates = columns[place], columns[-1]
        known = ~np.isnan(label)
        return metric.value(label[known], estimates[known, place])

    def defined(*labels: Column) -> bool:
        return bool(metric.defined(labels[place][~np.isnan(labels[place])]))

    return Metric(value, defined, metric.chance)


def _mean_of_defined(metrics: list[Metric]) -> Metric:
    """The mean of a metric over the labels for which it is defined; a resample may leave out one that is rare."""

    def value(*columns: Column) -> float:
        return float(np.mean([metric.value(*columns) for metric in metrics if metric.defined(*columns[:-1])]))

    def defined(*labels: Column) -> bool:
        return any(metric.defined(*labels) for metric in metrics)

    return Metric(value, defined, metrics[0].chance)
