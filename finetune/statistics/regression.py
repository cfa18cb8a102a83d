"""Statistics of a quantity: errors, explained variance, correlation."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.statistics.base import Column, Measure, Tables, Targets, TaskStatistics
from foundation.statistics.figure import Support
from foundation.statistics.regression import RegressionTable


class RegressionStatistics(TaskStatistics):
    """Of a quantity and its prediction.

    Args:
        target: label column.
        centre: near the mean of the quantity, such as that of the training patients.
    """

    primary = "r2"

    def __init__(self, target: str, centre: float = 0.0) -> None:
        self.target = target
        self.centre = centre

    def exact(self, targets: Targets, estimates: Column) -> Self:
        """Itself: sums round nothing."""
        return self

    def tables(
        self, targets: Targets, estimates: Column, hospitals: Sequence[str], weights: NDArray[Any] | None = None
    ) -> Tables:
        return {"errors": RegressionTable.from_patients(targets[self.target], estimates, self.centre, weights)}

    def empty(self, replicates: int = 0) -> Tables:
        return {"errors": RegressionTable.empty(self.centre, replicates)}

    def measures(self, tables: Mapping[str, Any], support: Support) -> dict[str, Measure]:
        table = tables["errors"]
        values = {
            "r2": (table.r2(), "R squared about the mean of these patients"),
            "mae": (table.mae(), "mean absolute error"),
            "rmse": (table.rmse(), "root mean squared error"),
            "mean_error": (table.mean_error(), "mean of predicted less observed"),
            "pearson": (table.pearson(), "Pearson's correlation"),
        }
        n = int(table.counts[0, 0])
        return {name: Measure(column, estimator, n) for name, (column, estimator) in values.items()}

    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def predictions(self, targets: Targets, estimates: Column) -> list[dict[str, Any]]:
        return [
            {
                "output": self.target,
                "label": None if np.isnan(value) else float(value),
                "prediction": float(estimate),
                "probability": None,
            }
            for value, estimate in zip(targets[self.target], estimates, strict=True)
        ]
