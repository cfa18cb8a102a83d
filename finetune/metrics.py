"""What a head is judged by while it trains: the main numbers of its tables, on grids that round nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.statistics.confusion import ConfusionTable
from foundation.statistics.grid import Grid
from foundation.statistics.probabilities import ProbabilityTable
from foundation.statistics.regression import RegressionTable
from foundation.statistics.scores import ScoreTable

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A number that judges estimates by targets.

    Args:
        value: of target columns and estimates, in this order.
        defined: whether the target columns allow a value.
        chance: the value of estimates that know nothing; None where it depends on the patients.
    """

    value: Callable[..., float]
    defined: Callable[..., bool]
    chance: float | None = None


def binary_metrics() -> dict[str, Metric]:
    """Of labels and probabilities, by the name that tables use."""
    values: dict[str, Callable[..., float]] = {
        "auprc": lambda label, p: float(_ranked(label, p).auprc()[0]),
        "brier": lambda label, p: float(ProbabilityTable.from_patients(label, p).brier()[0]),
        "ece": expected_calibration_error,
    }
    area = Metric(area_under_curve, both_outcomes, chance=0.5)
    return {"auc": area, **{name: Metric(value, both_outcomes) for name, value in values.items()}}


def regression_metrics() -> dict[str, Metric]:
    """Of a quantity and its prediction, by the name that tables use."""

    def varies(observed: Column) -> bool:
        return len(np.unique(observed)) > 1

    def error(figure: Callable[[RegressionTable], Column]) -> Callable[..., float]:
        return lambda observed, p: float(figure(RegressionTable.from_patients(observed, p, observed.mean()))[0])

    return {
        "r2": Metric(error(RegressionTable.r2), varies, chance=0.0),
        "mae": Metric(error(RegressionTable.mae), lambda observed: len(observed) > 0),
        "pearson": Metric(error(RegressionTable.pearson), varies, chance=0.0),
    }


def both_outcomes(label: Column) -> bool:
    """Whether there are patients with and without."""
    return len(np.unique(label)) > 1


def multiclass_metrics(classes: Sequence[str]) -> dict[str, Metric]:
    """Of class indices and probabilities `[patients, classes]`, by the name that tables use.

    What averages over classes needs patients of each of them; what averages over patients needs none in particular.
    """

    def all_classes(label: Column) -> bool:
        return len(np.unique(label)) == len(classes)

    def against_others(place: int) -> Metric:
        return Metric(
            lambda label, p: area_under_curve(label == place, p[:, place]),
            lambda label: both_outcomes(label == place),
            chance=0.5,
        )

    def decided(figure: Callable[[ConfusionTable], Column]) -> Callable[..., float]:
        return lambda label, p: float(figure(ConfusionTable.from_patients(label, p))[0])

    areas = {f"auc/{name}": against_others(place) for place, name in enumerate(classes)}
    over_patients: dict[str, Callable[..., float]] = {
        "accuracy": decided(ConfusionTable.accuracy),
        "brier": decided(ConfusionTable.brier),
        "log_loss": decided(ConfusionTable.log_loss),
        "ece": lambda label, p: expected_calibration_error(label == p.argmax(axis=1), p.max(axis=1)),
    }
    return {
        "auc": Metric(
            lambda label, p: float(np.mean([area.value(label, p) for area in areas.values()])), all_classes, chance=0.5
        ),
        "balanced_accuracy": Metric(decided(ConfusionTable.balanced_accuracy), all_classes, 1 / len(classes)),
        **{name: Metric(value, lambda label: len(label) > 0) for name, value in over_patients.items()},
        **areas,
    }


def area_under_curve(label: Column, probability: Column) -> float:
    """Area under the ROC curve (Mann–Whitney; a tie counts half)."""
    return float(_ranked(label, probability).auroc()[0])


def expected_calibration_error(label: Column, probability: Column) -> float:
    """Mean gap between predicted and seen frequency over ten equal bins (Guo et al. 2017, eq. 3)."""
    return float(ProbabilityTable.from_patients(label, np.clip(probability, 0, 1)).ece()[0])


def _ranked(label: Column, score: Column) -> ScoreTable:
    return ScoreTable.from_patients(label, score, Grid.exact(score))
