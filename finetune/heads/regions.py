"""Sets and intervals that hold what is predicted with a stated chance: what a head brings to conformal prediction.

A patient's alternatives (classes, labels present or absent, a value) each have a nonconformity; those that are at
most their threshold make the region. Thresholds are quantiles of the true alternatives' nonconformities among patients
whom the fit has not seen (split conformal prediction: Vovk et al. 2005; Lei et al. 2018). They are taken by class (Vovk
2012), so that coverage does not hang on how many of a hospital's patients have which class.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Targets = dict[str, Tensor]
_BOUND = {"type": ["number", "null"]}


class Regions(ABC):
    """Regions of a head's predictions.

    Attributes:
        groups: of alternatives: where a class has too few patients, its threshold is that of its group.
    """

    groups: list[list[int]]

    @property
    def alternatives(self) -> int:
        """Of one patient."""
        return sum(map(len, self.groups))

    @abstractmethod
    def nonconformity(
        self, scores: Float[Tensor, "batch outputs"], targets: Targets
    ) -> Float[Tensor, "batch alternatives"]:
        """Of the true alternatives; NaN at all others, and where the truth is unknown."""

    @abstractmethod
    def of(
        self, scores: Float[Tensor, "batch outputs"], thresholds: Float[Tensor, "batch alternatives"]
    ) -> list[dict[str, Any]]:
        """A patient's region, as plain values."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """JSON Schema of a region."""

    @abstractmethod
    def undecided(self, region: dict[str, Any]) -> str | None:
        """Why a region leaves open what is predicted, in words; None where it does not."""

    @abstractmethod
    def size(self, region: dict[str, Any]) -> float:
        """Classes in a set, or an interval's width."""

    @abstractmethod
    def confidence(self, scores: Float[Tensor, "batch outputs"]) -> Float[Tensor, " batch"] | None:
        """From 0 to 1, by which answers are ordered; None where all are as sure."""

    @abstractmethod
    def loss(self, scores: Float[Tensor, "batch outputs"], targets: Targets) -> Float[Tensor, " batch"]:
        """What a wrong answer costs: the share of wrong ones, or the absolute error; NaN where the truth is unknown."""


class ClassSets(Regions):
    """Sets of classes.

    Args:
        target: label column of class indices.
        classes: names.
        probabilities: of scores, `[batch, classes]`.
    """

    def __init__(self, target: str, classes: Sequence[str], probabilities: Callable[[Tensor], Tensor]) -> None:
        self.target = target
        self.classes = list(classes)
        self.probabilities = probabilities
        self.groups = [list(range(len(self.classes)))]

    def nonconformity(self, scores: Tensor, targets: Targets) -> Tensor:
        truth = torch.arange(len(self.classes)) == targets[self.target][:, None]
        return torch.where(truth, 1 - self.probabilities(scores), torch.nan)

    def of(self, scores: Tensor, thresholds: Tensor) -> list[dict[str, Any]]:
        inside = (1 - self.probabilities(scores)) <= thresholds
        return [
            {"classes": [name for name, there in zip(self.classes, row, strict=True) if there]}
            for row in inside.tolist()
        ]

    def schema(self) -> dict[str, Any]:
        return {"classes": {"type": "array", "items": {"enum": self.classes}, "uniqueItems": True}}

    def undecided(self, region: dict[str, Any]) -> str | None:
        names = region["classes"]
        if len(names) == 1:
            return None
        return f"the set holds {' and '.join(names)}" if names else "the set is empty: no class is likely enough"

    def size(self, region: dict[str, Any]) -> float:
        return float(len(region["classes"]))

    def confidence(self, scores: Tensor) -> Tensor:
        return self.probabilities(scores).max(dim=1).values

    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        label = targets[self.target]
        return torch.where(label.isnan(), label, (self.probabilities(scores).argmax(dim=1) != label).float())


class LabelSets(Regions):
    """For each of several labels, whether it may be present, absent or either.

    Args:
        labels: columns, 0 or 1, NaN where unknown.
        probabilities: of scores, `[batch, labels]`.
    """

    def __init__(self, labels: Sequence[str], probabilities: Callable[[Tensor], Tensor]) -> None:
        self.labels = list(labels)
        self.probabilities = probabilities
        self.groups = [[2 * place, 2 * place + 1] for place in range(len(self.labels))]

    def nonconformity(self, scores: Tensor, targets: Targets) -> Tensor:
        return torch.where(self._truth(targets), self._against(scores), torch.nan)

    def of(self, scores: Tensor, thresholds: Tensor) -> list[dict[str, Any]]:
        inside = (self._against(scores) <= thresholds).unflatten(1, (len(self.labels), 2)).tolist()
        names = ("absent", "present")
        return [
            {
                "labels": {
                    label: [name for name, there in zip(names, pair, strict=True) if there]
                    for label, pair in zip(self.labels, row, strict=True)
                }
            }
            for row in inside
        ]

    def schema(self) -> dict[str, Any]:
        either = {"type": "array", "items": {"enum": ["absent", "present"]}, "uniqueItems": True}
        properties = dict.fromkeys(self.labels, either)
        return {
            "labels": {
                "type": "object",
                "properties": properties,
                "required": self.labels,
                "additionalProperties": False,
            }
        }

    def undecided(self, region: dict[str, Any]) -> str | None:
        open_ones = [label for label, names in region["labels"].items() if len(names) != 1]
        return f"the sets leave open {', '.join(open_ones)}" if open_ones else None

    def size(self, region: dict[str, Any]) -> float:
        return sum(map(len, region["labels"].values())) / len(self.labels)

    def confidence(self, scores: Tensor) -> Tensor:
        chance = self.probabilities(scores)
        return torch.maximum(chance, 1 - chance).min(dim=1).values

    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        truth = torch.stack([targets[label] for label in self.labels], dim=1)
        wrong = torch.where(truth.isnan(), truth, ((self.probabilities(scores) >= 0.5) != truth).float())
        return wrong.nanmean(dim=1)

    def _against(self, scores: Tensor) -> Tensor:
        """Nonconformity of absent and present, label by label: `[batch, 2 labels]`."""
        chance = self.probabilities(scores)
        return torch.stack([chance, 1 - chance], dim=2).flatten(1)

    def _truth(self, targets: Targets) -> Tensor:
        columns = [torch.stack([targets[label] == 0, targets[label] == 1], dim=1) for label in self.labels]
        return torch.cat(columns, dim=1)


class Intervals(Regions):
    """Intervals about a value.

    Args:
        target: label column of the quantity.
        value: of scores, on the scale on which errors are alike, `[batch]`.
        quantity: from that scale to the quantity's own; rising.
        truth: of targets, on that scale.
    """

    def __init__(
        self,
        target: str,
        value: Callable[[Tensor], Tensor],
        quantity: Callable[[Tensor], Tensor],
        truth: Callable[[Targets], Tensor],
    ) -> None:
        self.groups = [[0]]
        self.target = target
        self.value = value
        self.quantity = quantity
        self.truth = truth

    def nonconformity(self, scores: Tensor, targets: Targets) -> Tensor:
        return (self.truth(targets) - self.value(scores)).abs()[:, None]

    def of(self, scores: Tensor, thresholds: Tensor) -> list[dict[str, Any]]:
        value, reach = self.value(scores), thresholds[:, 0]
        bounds = torch.stack([self.quantity(value - reach), self.quantity(value + reach)], dim=1)
        known = reach.isfinite().tolist()
        return [
            {"low": low, "high": high} if there else {"low": None, "high": None}
            for (low, high), there in zip(bounds.tolist(), known, strict=True)
        ]

    def schema(self) -> dict[str, Any]:
        return {"low": _BOUND, "high": _BOUND}

    def undecided(self, region: dict[str, Any]) -> str | None:
        return "too few patients with these modalities to bound the value" if region["low"] is None else None

    def size(self, region: dict[str, Any]) -> float:
        return float("nan") if region["low"] is None else region["high"] - region["low"]

    def confidence(self, scores: Tensor) -> Tensor | None:
        return None

    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        return (self.quantity(self.value(scores)) - targets[self.target]).abs()
