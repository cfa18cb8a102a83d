"""Metrics with bootstrap intervals: each a value and the range in which 95 % of resampled cohorts put it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss, log_loss

Column = NDArray[np.float64]
Interval = dict[str, float | None]

_LOW, _HIGH = 2.5, 97.5
_BINS = 10


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
        "auprc": lambda label, p: float(average_precision_score(label, p)),
        "brier": lambda label, p: float(brier_score_loss(label, p)),
        "ece": expected_calibration_error,
    }
    area = Metric(area_under_curve, both_outcomes, chance=0.5)
    return {"auc": area, **{name: Metric(value, both_outcomes) for name, value in values.items()}}


def both_outcomes(label: Column) -> bool:
    """Whether there are patients with and without."""
    return len(np.unique(label)) > 1


def multiclass_metrics(classes: Sequence[str]) -> dict[str, Metric]:
    """Of class indices and probabilities `[patients, classes]`, by the name that tables use.

    What averages over classes needs patients of each of them; what averages over patients needs none in particular.
    """
    places = range(len(classes))

    def all_classes(label: Column) -> bool:
        return len(np.unique(label)) == len(classes)

    def against_others(place: int) -> Metric:
        return Metric(
            lambda label, p: area_under_curve(label == place, p[:, place]),
            lambda label: both_outcomes(label == place),
            chance=0.5,
        )

    areas = {f"auc/{name}": against_others(place) for place, name in zip(places, classes, strict=True)}
    over_patients: dict[str, Callable[..., float]] = {
        "accuracy": lambda label, p: float((label == p.argmax(axis=1)).mean()),
        "brier": lambda label, p: float(brier_score_loss(label, _normalised(p), labels=places)),
        "log_loss": lambda label, p: float(log_loss(label, _normalised(p), labels=places)),
        "ece": lambda label, p: expected_calibration_error(label == p.argmax(axis=1), p.max(axis=1)),
    }
    return {
        "auc": Metric(
            lambda label, p: float(np.mean([area.value(label, p) for area in areas.values()])), all_classes, chance=0.5
        ),
        "balanced_accuracy": Metric(
            lambda label, p: float(balanced_accuracy_score(label, p.argmax(axis=1))), all_classes, 1 / len(classes)
        ),
        **{name: Metric(value, lambda label: len(label) > 0) for name, value in over_patients.items()},
        **areas,
    }


def _normalised(probabilities: Column) -> Column:
    """Rows that sum to one in float64; softmax in float32 leaves more than sklearn lets pass."""
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def area_under_curve(label: Column, probability: Column) -> float:
    """Area under the ROC curve by the Mann–Whitney statistic: ten times the speed of tracing it, for the bootstrap."""
    positive = label == 1
    count = int(positive.sum())
    ranks = rankdata(probability)[positive].sum()
    return float((ranks - count * (count + 1) / 2) / (count * (len(label) - count)))


def expected_calibration_error(label: Column, probability: Column) -> float:
    """Mean gap between predicted and seen frequency over ten equal bins (Guo et al. 2017, eq. 3).

    Not torchmetrics', which takes thirty times as long a call, and the bootstrap makes thousands.
    """
    bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(label[bins == index].mean() - probability[bins == index].mean()) * (bins == index).mean()
        for index in range(_BINS)
        if (bins == index).any()
    ]
    return float(sum(gaps))


def bootstrap(
    metric: Metric, targets: Sequence[Column], estimates: Sequence[Column], resamples: int, seed: int
) -> Interval:
    """A metric and its 95 % percentile interval over resampled patients (Efron & Tibshirani 1993, ch. 13).

    Not scipy's: it cannot draw a sample again in which the metric is not defined, and would return NaN.

    Args:
        metric: of targets and estimates, in their order.
        targets: `[patients]` each: a label, or event and time.
        estimates: `[patients]` or `[patients, outputs]` each; two of them compare two models on the same draws.
        resamples: drawn with replacement; those in which the metric is not defined are drawn again.
        seed: of the draws.

    Returns:
        `value`, `low` and `high`; all None where the metric is not defined.
    """
    if not metric.defined(*targets):
        return {"value": None, "low": None, "high": None}
    rng = np.random.default_rng(seed)
    patients = len(targets[0])
    values: list[float] = []
    while len(values) < resamples:
        drawn = rng.integers(patients, size=patients)
        sample = [column[drawn] for column in targets]
        if metric.defined(*sample):
            values.append(metric.value(*sample, *(rows[drawn] for rows in estimates)))
    low, high = np.percentile(values, [_LOW, _HIGH]).tolist()
    return {"value": metric.value(*targets, *estimates), "low": low, "high": high}
