"""A task head: all that training, evaluation and serving ask of what is predicted."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from finetune.experts.module import Experts, LeftOut
from finetune.experts.responses import Response
from finetune.heads.regions import Regions
from finetune.metrics import Column, Metric
from finetune.statistics.base import TaskStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Targets = dict[str, Tensor]
Columns = dict[str, Column]
Blocks = Mapping[str, int] | Sequence[Sequence[str | int]]  # names and sizes, in order
PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}


class Moments(NamedTuple):
    """Patients of whom a quantity is known, its sum and its sum of squares: hospitals add them."""

    patients: float
    total: float
    squares: float

    @classmethod
    def of(cls, values: Column) -> "Moments":
        """Of a quantity, `[patients]`, NaN where unknown."""
        known = values[~np.isnan(values)]
        return cls(float(len(known)), float(known.sum()), float((known**2).sum()))

    @property
    def mean(self) -> float:
        """Of the patients; 0 where there are none."""
        return self.total / max(self.patients, 1.0)

    @property
    def spread(self) -> float:
        """Standard deviation; 0 where all are the same but for rounding."""
        variance = self.squares / max(self.patients, 1.0) - self.mean**2
        return float(np.sqrt(variance)) if variance > 1e-12 * self.mean**2 else 0.0


@dataclass(frozen=True)
class TargetCounts:
    """How many patients have which value of each target: what a head needs of targets, and hospitals pool by adding.

    Attributes:
        patients: with a usable target.
        by_target: by label column, patients by value; those whose value is unknown are in none.
        moments: the same of quantities.
    """

    patients: int
    by_target: dict[str, dict[float, int]]
    moments: dict[str, Moments] = field(default_factory=dict)

    @classmethod
    def of(cls, targets: Columns) -> "TargetCounts":
        """Counts of target columns, `[patients]` each, NaN where unknown."""
        counts = {}
        for name, column in targets.items():
            values, patients = np.unique(column[~np.isnan(column)], return_counts=True)
            counts[name] = dict(zip(values.tolist(), patients.tolist(), strict=True))
        return cls(len(next(iter(targets.values()))), counts)

    def __add__(self, other: "TargetCounts") -> "TargetCounts":
        pairs = ((name, counts, other.by_target[name]) for name, counts in self.by_target.items())
        by_target = {name: dict(Counter(ours) + Counter(theirs)) for name, ours, theirs in pairs}
        sums = {
            name: Moments(*(one + more for one, more in zip(ours, other.moments[name], strict=True)))
            for name, ours in self.moments.items()
        }
        return TargetCounts(self.patients + other.patients, by_target, sums)


class Head(nn.Module, ABC):
    """From the patient embedding, or from blocks of plain features, to a prediction.

    Calibration lives in buffers, so it travels in the same file as the weights.

    Attributes:
        kind: what the field calls such a task; model cards name it.
        separable: whether a batch's loss is a mean of its patients' own losses, none of which looks at another patient.
        targets: label columns that the head reads, in the order in which its metrics take them.
        unit: of a quantity that is predicted; None of anything else.
        score: from what it reads to raw scores; see `readout`.
    """

    kind: ClassVar[str]
    separable: ClassVar[bool] = False
    targets: list[str]
    unit: str | None = None
    score: nn.Module

    @property
    def reads_features(self) -> bool:
        """Whether it is of experts: it takes plain features instead of the embedding, and is fitted exactly."""
        return isinstance(self.score, Experts)

    @property
    def reads_aligned(self) -> bool:
        """Whether it takes the mean of a patient's aligned embeddings (`finetune.aligned`) instead of the fused one."""
        return False

    @property
    def blocks(self) -> dict[str, int] | None:
        """Sizes of the blocks of features that experts read; None where the embedding is read."""
        return self.score.blocks if isinstance(self.score, Experts) else None

    @property
    def saved_blocks(self) -> list[list[str | int]] | None:
        """The same as pairs: their order is that of the features, and JSON's keys may be sorted."""
        return None if self.blocks is None else [[name, size] for name, size in self.blocks.items()]

    # Training

    def usable(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows of a table of target columns can teach or judge this head: `[patients]`."""
        return np.asarray(table[self.targets].notna().all(axis=1))

    def count(self, targets: Columns) -> TargetCounts:
        """Counts of targets, `[patients]` each."""
        return TargetCounts.of({name: targets[name] for name in self.targets})

    @abstractmethod
    def check(self, counts: TargetCounts) -> None:
        """Refuses training patients from whom nothing can be learned.

        Raises:
            UserError: saying why not.
        """

    def doubts(self, targets: Columns) -> list[str]:
        """What of its settings the targets of the training patients belie, a line each."""
        return []

    def scarce(self, counts: TargetCounts) -> list[str]:
        """Of which outcomes the counts of training patients hold too few to learn much from, a line each."""
        return []

    def set_counts(self, counts: TargetCounts) -> None:
        """Takes from the counts of the training patients what the loss needs, such as weights of classes."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""

    def forward(self, fused: Float[Tensor, "batch width"]) -> Float[Tensor, "batch outputs"]:
        """Raw scores, of what the readout reads."""
        return self.scores_of(self.score(fused))

    @abstractmethod
    def responses(self, targets: Columns) -> list[Response]:
        """What experts explain, one an output of theirs, of target columns `[patients]`."""

    def ranking_responses(self, targets: Columns) -> list[Response]:
        """What models explain that rank patients alone; the metrics take their scores, a column each."""
        return self.responses(targets)

    def fit_experts(self, features: Column, targets: Columns, hospitals: Sequence[str], distil: bool = True) -> LeftOut:
        """Fits experts exactly, and calibrates.

        Args:
            features: `[patients, features]`, NaN where not measured.
            targets: of the patients.
            hospitals: of the patients.
            distil: see `finetune.experts.fit`.

        Returns:
            Scores of the readout, by fits that have not seen a patient's hospital.
        """
        assert isinstance(self.score, Experts)
        left_out = self.score.fit(features, self.responses(targets), hospitals, distil)
        scores = self.scores_of(left_out.scores())
        known = ~scores.isnan().any(dim=1)
        values = {name: torch.from_numpy(column).float()[known] for name, column in targets.items()}
        nobody = {name: column[:0] for name, column in values.items()}
        self.calibrate(scores[known], values, (scores[:0], nobody))
        return left_out

    def scores_of(self, scores: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch outputs"]:
        """The head's raw scores from those of its readout."""
        return scores

    @abstractmethod
    def loss(self, scores: Float[Tensor, "batch outputs"], targets: Targets) -> Tensor | None:
        """Scalar loss of a batch; None where it holds nothing to learn from."""

    @abstractmethod
    def calibrate(
        self, scores: Float[Tensor, "validation outputs"], targets: Targets, train: tuple[Tensor, Targets]
    ) -> None:
        """Fits calibration on the validation patients, with the training patients' scores and targets at hand."""

    # Prediction

    @abstractmethod
    def predict(self, scores: Float[Tensor, "batch outputs"]) -> list[dict[str, Any]]:
        """Calibrated predictions, a dictionary of plain values a patient."""

    @abstractmethod
    def prediction_schema(self) -> dict[str, Any]:
        """JSON Schema of one prediction."""

    def regions(self) -> Regions | None:
        """Sets or intervals of its predictions; None where there are none."""
        return None

    # Evaluation

    @abstractmethod
    def estimate(self, scores: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch *outputs"]:
        """The calibrated numbers that metrics judge, one or several a patient."""

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Metrics of target columns, in the order of `targets`, and estimates; the first one is the primary."""

    @abstractmethod
    def statistics(self) -> TaskStatistics:
        """What evaluation counts of targets and estimates, at one place and over hospitals alike."""

    @abstractmethod
    def outcomes(self, counts: TargetCounts) -> dict[str, int]:
        """Columns of the tables of an evaluation: how many patients had what, by the column's title."""

    @abstractmethod
    def baseline(self, train: pd.DataFrame, targets: Columns, test: pd.DataFrame) -> Column:
        """Estimates for test patients by a plain model of covariates, fitted on the training patients.

        Args:
            train: covariates (`finetune.baseline`), a row a patient.
            targets: of the same patients.
            test: covariates of the others.
        """

    @abstractmethod
    def plot(self, axes: "Axes", targets: Columns, estimates: Column) -> None:
        """Draws what the metrics summarise."""


def readout(width: int, outputs: int, dropout: float, blocks: Blocks | None) -> nn.Module:
    """Linear scores of the patient embedding, or experts of blocks of features where these are named."""
    if blocks is not None:
        pairs = blocks.items() if isinstance(blocks, Mapping) else blocks
        return Experts({str(name): int(size) for name, size in pairs}, outputs)
    return nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, outputs))


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of an object that has these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Weights inverse to how often a class occurs, 1 on average over patients; finite for a class nobody has."""
    return [sum(counts) / (len(counts) * max(count, 1)) for count in counts]
