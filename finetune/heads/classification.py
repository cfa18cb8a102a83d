"""Classification: cross-entropy with class weights, calibrated after training."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from finetune.heads.base import Head, Targets
from foundation.errors import UserError

_SHRINK = 1e-2
_BINARY = ("negative", "positive")


class Classification(Head):
    """A linear head over classes.

    Args:
        width: of the patient embedding.
        target: label column that holds the class index.
        classes: names in the order of their index; the last one is the positive class of a binary task.
        class_weights: of the loss, by class.
        dropout: on the embedding.
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
    ) -> None:
        super().__init__()
        self.width = width
        self.target = target
        self.classes = list(classes or _BINARY)
        self.dropout = dropout
        self.score = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, len(self.classes)))
        self.register_buffer("class_weights", torch.tensor(class_weights or [1.0] * len(self.classes)))
        self.register_buffer("log_scale", torch.zeros(1))
        self.register_buffer("shift", torch.zeros(len(self.classes)))

    @classmethod
    def needs(cls, targets: dict[str, NDArray[np.float64]], given: dict[str, Any]) -> dict[str, Any]:
        """Weights inverse to how often a class occurs, so that each class weighs the same in the loss."""
        ((name, labels),) = targets.items()
        classes = list(given.get("classes") or _BINARY)
        found = np.unique(labels).tolist()
        strange = [value for value in found if value not in range(len(classes))]
        if strange:
            raise UserError(
                f"task.head: '{name}' holds {strange[0]:g}, but classes are {len(classes)} ({', '.join(classes)}), "
                f"written 0 to {len(classes) - 1}; name every class in task.head.classes"
            )
        if len(found) == 1:
            raise UserError(
                f"task.head: all {len(labels)} training patients have {name} = {found[0]:g}; "
                "train on hospitals that hold at least two classes (data.test_hospitals)"
            )
        counts = np.bincount(labels.astype(int), minlength=len(classes))
        return {"class_weights": (len(labels) / (len(counts) * np.maximum(counts, 1))).tolist()}

    def settings(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "target": self.target,
            "classes": self.classes,
            "class_weights": self.class_weights.tolist(),
            "dropout": self.dropout,
        }

    def forward(self, fused: Float[Tensor, "batch width"]) -> Float[Tensor, "batch classes"]:
        scores: Tensor = self.score(fused)
        return scores

    def loss(self, scores: Float[Tensor, "batch classes"], targets: Targets) -> Tensor:
        return functional.cross_entropy(scores, targets[self.target].long(), weight=self.class_weights)

    def calibrate(
        self, scores: Float[Tensor, "validation classes"], targets: Targets, train: tuple[Tensor, Targets]
    ) -> None:
        """Temperature and a shift a class (Guo et al. 2017), drawn towards none: validation parts are small."""
        scores, label = scores.detach(), targets[self.target].long()
        log_scale, shift = torch.zeros(1, requires_grad=True), torch.zeros(scores.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS([log_scale, shift], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            penalty = _SHRINK * (log_scale.square().sum() + shift.square().sum())
            value = functional.cross_entropy(scores * log_scale.exp() + shift, label) + penalty
            value.backward()
            return value

        optimizer.step(closure)
        self.log_scale.copy_(log_scale.detach())
        self.shift.copy_(shift.detach())

    def risk(self, scores: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
        """Calibrated probability of the last class."""
        return self._probabilities(scores)[:, -1]

    def predict(self, scores: Float[Tensor, "batch classes"]) -> list[dict[str, Any]]:
        return [
            {
                "class": self.classes[int(row.argmax())],
                "probabilities": dict(zip(self.classes, row.tolist(), strict=True)),
            }
            for row in self._probabilities(scores)
        ]

    def _probabilities(self, scores: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        return (scores * self.log_scale.exp() + self.shift).softmax(dim=-1)
