"""The picture of an evaluation: where the model is sure, where it is not, and how it ranks."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from lifelines import KaplanMeierFitter
from matplotlib.axes import Axes
from sklearn.metrics import roc_curve

from finetune.evaluation import Evaluator
from finetune.heads.survival import Survival
from finetune.metrics import Column

matplotlib.use("Agg")

from matplotlib.figure import Figure

_INK, _SOFT = "#1f3a5f", "#b5651d"
_GROUPS = ("lowest third", "middle third", "highest third")


def draw(evaluator: Evaluator, found: dict[str, Any], path: Path) -> None:
    """Draws the intervals by group beside ROC curve or Kaplan–Meier curves by third of risk."""
    figure = Figure(figsize=(11, 0.32 * (len(_rows(found, evaluator.primary)) + 2) + 2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _forest(left, found, evaluator.primary)
    targets = evaluator.columns(evaluator.test)
    if isinstance(evaluator.model.head, Survival):
        _kaplan_meier(right, targets[0], targets[1], evaluator.test_risk)
    else:
        _roc(right, targets[0], evaluator.test_risk)
    label = " (synthetic patients)" if evaluator.cohort.synthetic else ""
    figure.suptitle(f"{evaluator.model.task['name']} on {evaluator.cohort.name}{label}, {found['n']} test patients")
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=130, format="png")
    temporary.replace(path)


def _rows(found: dict[str, Any], metric: str) -> list[tuple[str, int, dict[str, float]]]:
    groups = {"overall": {**found["overall"], "n": found["n"]}}
    groups |= {f"hospital: {name}": group for name, group in found["by_hospital"].items()}
    groups |= {f"inputs: {name}": group for name, group in found["by_modality"].items()}
    if found["baseline"]:
        groups["baseline: age and sex"] = {**found["baseline"], "n": found["n"]}
    return [(name, group["n"], group[metric]) for name, group in groups.items() if group[metric]["value"] is not None]


def _forest(axes: Axes, found: dict[str, Any], metric: str) -> None:
    rows = _rows(found, metric)[::-1]
    for height, (name, _, interval) in enumerate(rows):
        colour = _SOFT if name.startswith("baseline") else _INK
        axes.plot([interval["low"], interval["high"]], [height, height], color=colour, linewidth=2)
        axes.plot(interval["value"], height, "o", color=colour)
    axes.axvline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [f"{name} (n = {count})" for name, count, _ in rows])
    axes.set_xlabel(f"{metric}, 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)


def _roc(axes: Axes, label: Column, risk: Column) -> None:
    if len(np.unique(label)) > 1:
        false, true, _ = roc_curve(label, risk)
        axes.plot(false, true, color=_INK)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)


def _kaplan_meier(axes: Axes, event: Column, time: Column, risk: Column) -> None:
    thirds = np.digitize(risk, np.quantile(risk, [1 / 3, 2 / 3]))
    for index, name in enumerate(_GROUPS):
        own = thirds == index
        if own.any():
            KaplanMeierFitter(label=name).fit(time[own] / 365.25, event[own]).plot_survival_function(ax=axes)
    axes.set(xlabel="years", ylabel="survival, by third of predicted risk", ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
