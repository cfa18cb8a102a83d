"""Statistics of several classes that exclude one another: over patients, over classes, and each against the others."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.statistics.base import Column, Measure, Tables, Targets, TaskStatistics
from finetune.statistics.binary import BinaryStatistics, part_of
from foundation.statistics.comparison import Difference
from foundation.statistics.confusion import ConfusionTable
from foundation.statistics.figure import Support
from foundation.statistics.probabilities import ProbabilityTable

_BY_CLASS = ("auc", "auprc", "calibration_slope", "calibration_in_the_large", "sensitivity_at_specificity")


class MulticlassStatistics(TaskStatistics):
    """Of class indices and probabilities `[patients, classes]`.

    Args:
        target: label column.
        classes: names in the order of their index.
        parts: statistics of each class against the others; on the usual grid if not given.
    """

    primary = "auc"

    def __init__(self, target: str, classes: Sequence[str], parts: Sequence[BinaryStatistics] | None = None) -> None:
        self.target = target
        self.classes = list(classes)
        self.parts = list(parts) if parts is not None else [BinaryStatistics(name, name) for name in classes]

    def exact(self, targets: Targets, estimates: Column) -> Self:
        against = self._against_others(targets)
        parts = [part.exact(against, estimates[:, place]) for place, part in enumerate(self.parts)]
        return type(self)(self.target, self.classes, parts)

    def tables(
        self, targets: Targets, estimates: Column, hospitals: Sequence[str], weights: NDArray[Any] | None = None
    ) -> Tables:
        against, label = self._against_others(targets), targets[self.target]
        right = (estimates.argmax(axis=1) == label).astype(np.float64)
        tables: Tables = {
            "confusion": ConfusionTable.from_patients(label, estimates, weights),
            "top": ProbabilityTable.from_patients(right, np.clip(estimates.max(axis=1), 0, 1), weights),
        }
        for place, part in enumerate(self.parts):
            rows = part.tables(against, estimates[:, place], hospitals, weights)
            tables |= {f"{part.target}/{name}": table for name, table in rows.items()}
        return tables

    def empty(self, replicates: int = 0) -> Tables:
        tables: Tables = {
            "confusion": ConfusionTable.empty(len(self.classes), replicates),
            "top": ProbabilityTable.empty(replicates=replicates),
        }
        for part in self.parts:
            tables |= {f"{part.target}/{name}": table for name, table in part.empty(replicates).items()}
        return tables

    def measures(self, tables: Mapping[str, Any], support: Support) -> dict[str, Measure]:
        confusion = tables["confusion"]
        by_class = {part.target: part.measures(part_of(tables, part.target), support) for part in self.parts}
        names = [f"{name} patients" for name in self.classes]
        outcomes = dict(zip(names, confusion.outcomes()[0].tolist(), strict=True))
        area = np.mean([measures["auc"].values for measures in by_class.values()], axis=0)
        over_classes = {
            "auc": (area, "AUROC of each class against the others, mean over classes"),
            "balanced_accuracy": (confusion.balanced_accuracy(), "mean recall over classes"),
        }
        over_patients = {
            "accuracy": (confusion.accuracy(), "accuracy"),
            "brier": (confusion.brier(), "Brier score, summed over classes"),
            "log_loss": (confusion.log_loss(), "log loss"),
            "ece": (tables["top"].ece(), "expected calibration error of the highest probability, 10 equal bins"),
        }
        last = {"f1_macro": (confusion.f1_macro(), "F1, mean over classes")}
        n = sum(outcomes.values())
        whole = {
            name: Measure(values, estimator, n, outcomes, () if name in over_patients else tuple(names))
            for name, (values, estimator) in (over_classes | over_patients | last).items()
        }
        return whole | {f"{name}/{label}": by_class[label][name] for name in _BY_CLASS for label in self.classes}

    def exact_tests(self, targets: Targets, first: Column, second: Column) -> dict[str, Difference]:
        against = self._against_others(targets)
        return {
            f"{name}/{part.target}": test
            for place, part in enumerate(self.parts)
            for name, test in part.exact_tests(against, first[:, place], second[:, place]).items()
        }

    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        by_class = {part.target: part.curves(part_of(tables, part.target)) for part in self.parts}
        return {"confusion": tables["confusion"].counts[0].tolist(), **by_class}

    def predictions(self, targets: Targets, estimates: Column) -> list[dict[str, Any]]:
        top = estimates.argmax(axis=1)
        return [
            {
                "output": name,
                "label": float(label == place),
                "prediction": float(top[row] == place),
                "probability": float(estimates[row, place]),
            }
            for row, label in enumerate(targets[self.target])
            for place, name in enumerate(self.classes)
        ]

    def _against_others(self, targets: Targets) -> dict[str, Column]:
        label = targets[self.target]
        return {name: (label == place).astype(np.float64) for place, name in enumerate(self.classes)}
