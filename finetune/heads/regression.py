"""Regression: a quantity by least squares, in units of its spread among the training patients."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from finetune.experts.responses import Response, Value
from finetune.heads.base import Blocks, Columns, Head, Moments, TargetCounts, Targets, object_schema, readout
from finetune.heads.regions import Intervals
from finetune.metrics import Column, Metric, regression_metrics
from finetune.statistics.regression import RegressionStatistics
from foundation.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SCALES = ("linear", "log")
_DRAWN = 20.0  # patients' worth of belief that a line calibrates nothing
_PENALTY = 1.0


class Regression(Head):
    """A linear head for one quantity, such as a gene's expression, a signature or a count.

    Args:
        width: of the patient embedding.
        target: label column that holds the quantity, or one that follows from genomics (`finetune.derived`).
        unit: of the quantity, as answers say it.
        scale: `linear`; or `log` for what is never below zero and spreads over magnitudes, such as a count: learnt as
            log(1 + quantity).
        moments: patients, sum and sum of squares of the quantity on its scale; of the training patients if not given.
        dropout: on the embedding.
        blocks: sizes of blocks of features, to be read by experts instead of the embedding.
    """

    kind = "regression"
    separable = True
    line: Tensor
    standard: Tensor

    def __init__(
        self,
        width: int,
        target: str,
        unit: str,
        scale: str = "linear",
        moments: list[float] | None = None,
        dropout: float = 0.1,
        blocks: Blocks | None = None,
    ) -> None:
        super().__init__()
        if scale not in _SCALES:
            raise UserError(f"task.head.scale: found {scale!r}; choose {' or '.join(_SCALES)}")
        self.width = width
        self.target = target
        self.targets = [target]
        self.unit = unit
        self.scale = scale
        self.dropout = dropout
        self.score = readout(width, 1, dropout, blocks)
        # A standard quantity until its patients are known: mean 0, spread 1. The buffer tells hospitals that train
        # together what all their patients come to; where the moments are here, no trainer's precision rounds them.
        self.register_buffer("standard", torch.tensor([0.0, 1.0]))
        self.register_buffer("line", torch.tensor([1.0, 0.0]))
        self._moments: Moments | None = None
        if moments is not None:
            self._take(Moments(*moments))

    def count(self, targets: Columns) -> TargetCounts:
        """Moments alone: values would be told patient by patient.

        Raises:
            UserError: if a quantity to be learnt on a log scale is below zero.
        """
        values = targets[self.target]
        if self.scale == "log" and (values < 0).any():
            raise UserError(f"task.head.scale: '{self.target}' has values below 0, which log cannot take; set linear")
        patients = int((~np.isnan(values)).sum())
        return TargetCounts(patients, {}, {self.target: Moments.of(self._scaled(values))})

    def check(self, counts: TargetCounts) -> None:
        if not counts.moments[self.target].spread > 0:
            raise UserError(
                f"task.head: '{self.target}' is the same in all {counts.patients} training patients; there is nothing "
                "to learn, so check the column"
            )

    def set_counts(self, counts: TargetCounts) -> None:
        """Takes mean and spread, in whose units the quantity is learnt."""
        self._take(counts.moments[self.target])

    @property
    def moments(self) -> Moments:
        """Of the training patients; one patient's worth where the buffer alone tells them."""
        if self._moments is not None:
            return self._moments
        mean, spread = self.standard.double().tolist()
        return Moments(1.0, mean, spread**2 + mean**2)

    def settings(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "target": self.target,
            "unit": self.unit,
            "scale": self.scale,
            "moments": list(self.moments),
            "dropout": self.dropout,
            "blocks": self.saved_blocks,
        }

    def responses(self, targets: Columns) -> list[Response]:
        return [Value((self._scaled(targets[self.target]) - self.moments.mean) / self.moments.spread)]

    def loss(self, scores: Float[Tensor, "batch 1"], targets: Targets) -> Tensor:
        """Mean squared error in units of the spread."""
        return functional.mse_loss(scores.squeeze(1), self._standard(targets))

    def calibrate(self, scores: Float[Tensor, "validation 1"], targets: Targets, train: tuple[Tensor, Targets]) -> None:
        """Slope and shift by least squares, drawn towards one and none: validation parts are small."""
        self.line.copy_(torch.from_numpy(line_of(*self.line_sums(scores.detach(), targets))))

    def line_sums(self, scores: Float[Tensor, "validation 1"], targets: Targets) -> tuple[Column, Column]:
        """Products of slope and shift, `[2, 2]`, and with what the score leaves, `[2]`: hospitals add them."""
        score = scores.squeeze(1).double()
        design = torch.stack([score, torch.ones_like(score)], dim=1)
        rest = self._standard(targets).double() - score
        return (design.T @ design).numpy(), (design.T @ rest).numpy()

    def predict(self, scores: Float[Tensor, "batch 1"]) -> list[dict[str, Any]]:
        return [{"value": value, "unit": self.unit} for value in self.estimate(scores).tolist()]

    def prediction_schema(self) -> dict[str, Any]:
        return object_schema({"value": {"type": "number"}, "unit": {"const": self.unit}})

    def estimate(self, scores: Float[Tensor, "batch 1"]) -> Float[Tensor, " batch"]:
        """The quantity, in its unit."""
        return self.quantity(self.calibrated(scores))

    def calibrated(self, scores: Float[Tensor, "batch 1"]) -> Float[Tensor, " batch"]:
        """The quantity on its scale, in units of the spread."""
        return scores.squeeze(1) * self.line[0] + self.line[1]

    def quantity(self, standard: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """From units of the spread back to the quantity's own."""
        values = standard * self.moments.spread + self.moments.mean
        return values.expm1().clamp(min=0) if self.scale == "log" else values

    def regions(self) -> Intervals:
        return Intervals(self.target, self.calibrated, self.quantity, self._standard)

    def metrics(self) -> dict[str, Metric]:
        return regression_metrics()

    def statistics(self) -> RegressionStatistics:
        centre = float(np.expm1(self.moments.mean)) if self.scale == "log" else self.moments.mean
        return RegressionStatistics(self.target, centre)

    def outcomes(self, counts: TargetCounts) -> dict[str, int]:
        return {}

    def baseline(self, train: pd.DataFrame, targets: Columns, test: pd.DataFrame) -> Column:
        """The quantity by ridge regression."""
        from sklearn.linear_model import Ridge  # here, for serving fits nothing

        fitted = Ridge(_PENALTY).fit(train.to_numpy(), self._scaled(targets[self.target])).predict(test.to_numpy())
        return np.asarray(np.maximum(np.expm1(fitted), 0) if self.scale == "log" else fitted, dtype=np.float64)

    def plot(self, axes: "Axes", targets: Columns, estimates: Column) -> None:
        """Predicted against observed."""
        observed = targets[self.target]
        axes.plot(observed, estimates, "o", markersize=3, alpha=0.6)
        axes.axline((float(observed.mean()), float(observed.mean())), slope=1, color="grey", linestyle=":")
        axes.set(xlabel=f"observed {self.target}, {self.unit}", ylabel=f"predicted, {self.unit}")

    def _take(self, moments: Moments) -> None:
        self._moments = moments
        self.standard.copy_(torch.tensor([moments.mean, moments.spread]))

    def _standard(self, targets: Targets) -> Float[Tensor, " batch"]:
        values = targets[self.target]
        return ((values.log1p() if self.scale == "log" else values) - self.moments.mean) / self.moments.spread

    def _scaled(self, values: Column) -> Column:
        return np.log1p(values) if self.scale == "log" else values


def line_of(products: Column, rest: Column) -> Column:
    """Slope and shift of `Regression.line_sums`, or of sums of those of several hospitals: `[2]`."""
    slope, shift = np.linalg.solve(products + _DRAWN * np.eye(2), rest)
    return np.array([1 + slope, shift], dtype=np.float64)
