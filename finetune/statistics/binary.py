"""Statistics of a yes-or-no label, and of several of which any may be unknown."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from finetune.statistics.base import Column, Measure, Tables, Targets, TaskStatistics, listed
from foundation.statistics.comparison import Difference, paired_delong
from foundation.statistics.figure import Support
from foundation.statistics.grid import Grid
from foundation.statistics.logistic import calibration_line
from foundation.statistics.probabilities import ProbabilityTable
from foundation.statistics.scores import PairedScoreTable, ScoreTable

PROBABILITIES = Grid.steps(0, 1, 1e-3)
_BOTH = ("negatives", "positives")


class BinaryStatistics(TaskStatistics):
    """Of labels 0 and 1, NaN where unknown, and probabilities of 1.

    Args:
        target: label column.
        output: what a probability is of, such as the positive class.
        scores: grid on which probabilities are ranked and cut.
        threshold: at or above which a patient is called positive.
        specificity: at which sensitivity is told.
    """

    primary = "auc"

    def __init__(
        self,
        target: str,
        output: str = "positive",
        scores: Grid = PROBABILITIES,
        threshold: float = 0.5,
        specificity: float = 0.9,
    ) -> None:
        self.target = target
        self.output = output
        self.scores = scores
        self.threshold = threshold
        self.specificity = specificity

    def exact(self, targets: Targets, estimates: Column) -> Self:
        scores = Grid.exact([*estimates, 0.0, 1.0])
        return type(self)(self.target, self.output, scores, self.threshold, self.specificity)

    def tables(
        self, targets: Targets, estimates: Column, hospitals: Sequence[str], weights: NDArray[Any] | None = None
    ) -> Tables:
        label, bounded = targets[self.target], np.clip(estimates, 0, 1)
        return {
            "scores": ScoreTable.from_patients(label, bounded, self.scores, weights),
            "probabilities": ProbabilityTable.from_patients(label, bounded, weights),
        }

    def empty(self, replicates: int = 0) -> Tables:
        chances = ProbabilityTable.empty(replicates=replicates)
        return {"scores": ScoreTable.empty(self.scores, replicates), "probabilities": chances}

    def measures(self, tables: Mapping[str, Any], support: Support) -> dict[str, Measure]:
        scores, chances = tables["scores"], tables["probabilities"]
        negatives, positives = (int(count) for count in scores.outcomes()[0])
        outcomes = dict(zip(_BOTH, (negatives, positives), strict=True))
        slope, intercept, large = (
            calibration_line(scores) if min(negatives, positives) else [chances.brier() * np.nan] * 3
        )
        at = f"at probability {self.threshold:g}"
        ranking = {
            "auc": (scores.auroc(), "AUROC, Mann–Whitney, ties half"),
            "auprc": (scores.auprc(), "average precision"),
        }
        believing = {
            "brier": (chances.brier(), "Brier score"),
            "ece": (chances.ece(), "expected calibration error, 10 equal bins"),
            "log_loss": (chances.log_loss(), "log loss"),
        }
        deciding = {
            "balanced_accuracy": (scores.balanced_accuracy(self.threshold), f"balanced accuracy {at}"),
            "f1": (scores.f1(self.threshold), f"F1 {at}"),
            "sensitivity": (scores.sensitivity(self.threshold), f"sensitivity {at}"),
            "specificity": (scores.specificity(self.threshold), f"specificity {at}"),
            "sensitivity_at_specificity": (
                scores.sensitivity_at_specificity(self.specificity),
                f"highest sensitivity at specificity {self.specificity:g}",
            ),
            "calibration_slope": (slope, "calibration slope, logistic on the logit; ideal 1"),
            "calibration_intercept": (intercept, "calibration intercept beside the slope; ideal 0"),
            "calibration_in_the_large": (large, "calibration intercept at slope 1; ideal 0"),
            "observed_to_expected": (chances.observed_to_expected(), "observed over expected positives; ideal 1"),
        }
        n = negatives + positives
        return {
            name: Measure(values, estimator, n, outcomes, () if name in believing else _BOTH)
            for name, (values, estimator) in (ranking | believing | deciding).items()
        }

    def exact_tests(self, targets: Targets, first: Column, second: Column) -> dict[str, Difference]:
        grids = []
        for estimates in (first, second):
            exact = Grid.exact([*estimates, 0.0])
            grids.append(exact if len(exact) <= len(PROBABILITIES) else PROBABILITIES)
        return {"auc": paired_delong(PairedScoreTable.from_patients(targets[self.target], first, second, *grids))}

    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        scores, chances = tables["scores"].row(), tables["probabilities"].row()
        false, true = scores.roc()
        calibration, decision = chances.calibration_curve(), chances.decision_curve()
        low, high = scores.auroc_bounds()
        return {
            "roc": {"false_positive_rate": listed(false[0]), "true_positive_rate": listed(true[0])},
            "auc_before_rounding": {"low": listed(low)[0], "high": listed(high)[0]},
            "auc_delong_variance": listed(scores.delong_variance())[0],
            "calibration": {
                "predicted": listed(calibration.predicted[0]),
                "observed": listed(calibration.observed[0]),
                "patients": calibration.patients[0].tolist(),
            },
            "decision": {
                "threshold": list(chances.thresholds),
                "net_benefit": listed(decision.model[0]),
                "treat_all": listed(decision.treat_all[0]),
            },
        }

    def predictions(self, targets: Targets, estimates: Column) -> list[dict[str, Any]]:
        return [
            {
                "output": self.output,
                "label": None if np.isnan(label) else float(label),
                "prediction": float(probability >= self.threshold),
                "probability": float(probability),
            }
            for label, probability in zip(targets[self.target], estimates, strict=True)
        ]


class MultiLabelStatistics(TaskStatistics):
    """Of several labels: each by itself, and the mean over those that reach the support.

    Args:
        labels: label columns, in the order of the head's outputs.
        parts: statistics of each; on the usual grid if not given.
    """

    primary = "auc"

    def __init__(self, labels: Sequence[str], parts: Sequence[BinaryStatistics] | None = None) -> None:
        self.labels = list(labels)
        self.parts = list(parts) if parts is not None else [BinaryStatistics(label, label) for label in labels]

    def exact(self, targets: Targets, estimates: Column) -> Self:
        parts = [part.exact(targets, estimates[:, place]) for place, part in enumerate(self.parts)]
        return type(self)(self.labels, parts)

    def tables(
        self, targets: Targets, estimates: Column, hospitals: Sequence[str], weights: NDArray[Any] | None = None
    ) -> Tables:
        return {
            f"{label}/{name}": table
            for place, (label, part) in enumerate(zip(self.labels, self.parts, strict=True))
            for name, table in part.tables(targets, estimates[:, place], hospitals, weights).items()
        }

    def empty(self, replicates: int = 0) -> Tables:
        return {
            f"{label}/{name}": table
            for label, part in zip(self.labels, self.parts, strict=True)
            for name, table in part.empty(replicates).items()
        }

    def measures(self, tables: Mapping[str, Any], support: Support) -> dict[str, Measure]:
        by_label = {
            label: part.measures(part_of(tables, label), support)
            for label, part in zip(self.labels, self.parts, strict=True)
        }
        outcomes = {
            f"{label} {name}": measures["auc"].outcomes[name] for label, measures in by_label.items() for name in _BOTH
        }
        means = {
            name: mean_measure([measures[name] for measures in by_label.values()], support, outcomes)
            for name in by_label[self.labels[0]]
        }
        return means | {f"{name}/{label}": by_label[label][name] for name in means for label in self.labels}

    def exact_tests(self, targets: Targets, first: Column, second: Column) -> dict[str, Difference]:
        return {
            f"{name}/{label}": test
            for place, (label, part) in enumerate(zip(self.labels, self.parts, strict=True))
            for name, test in part.exact_tests(targets, first[:, place], second[:, place]).items()
        }

    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        return {label: part.curves(part_of(tables, label)) for label, part in zip(self.labels, self.parts, strict=True)}

    def predictions(self, targets: Targets, estimates: Column) -> list[dict[str, Any]]:
        by_label = [part.predictions(targets, estimates[:, place]) for place, part in enumerate(self.parts)]
        return [row for rows in zip(*by_label, strict=True) for row in rows]


def mean_measure(measures: Sequence[Measure], support: Support, outcomes: dict[str, int]) -> Measure:
    """The mean over those parts that are figures; a replicate that leaves a part out averages the others."""
    used = [measure for measure in measures if measure.lack(support) is None and np.isfinite(measure.values[0])]
    n = max(measure.n for measure in measures)
    estimator = f"mean over {len(used)} of {len(measures)}: {measures[0].estimator}"
    if not used:
        return Measure(np.full(len(measures[0].values), np.nan), estimator, n, outcomes)
    stacked = np.stack([measure.values for measure in used])
    known = np.isfinite(stacked)
    total, count = np.where(known, stacked, 0).sum(axis=0), known.sum(axis=0)
    return Measure(np.where(count > 0, total / np.maximum(count, 1), np.nan), estimator, n, outcomes)


def part_of(tables: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The tables of one label, by their own names."""
    start = f"{label}/"
    return {name.removeprefix(start): table for name, table in tables.items() if name.startswith(start)}
