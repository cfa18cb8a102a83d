"""The picture of an evaluation: intervals by group, beside what the head draws of its estimates."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from finetune.metrics import Column
from foundation.files import replacing
from foundation.statistics.competing import CauseTable
from foundation.statistics.grid import Grid

_INK, _SOFT = "#1f3a5f", "#b5651d"


def draw(
    result: dict[str, Any], metric: str, chance: float | None, panel: Callable[[Axes], None], title: str, path: Path
) -> None:
    """Draws an evaluation and saves it.

    Args:
        result: of `Evaluator.run`.
        metric: whose intervals are drawn.
        chance: its value for estimates that know nothing; None draws no line.
        panel: draws the right side.
        title: above both.
        path: of the PNG.
    """
    matplotlib.use("Agg")  # heads may draw through pyplot, which would look for a screen
    rows = _rows(result, metric)
    figure = Figure(figsize=(11, 0.32 * (len(rows) + 2) + 2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _forest(left, rows[::-1], metric, chance)
    panel(right)
    right.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def roc_curves(axes: Axes, curves: dict[str, tuple[Column, Column]]) -> None:
    """ROC curves of labels and probabilities by name; those of one outcome only are left out."""
    for name, (label, probability) in curves.items():
        if len(np.unique(label)) > 1:
            false, true, _ = roc_curve(label, probability)
            axes.plot(false, true, color=_INK if len(curves) == 1 else None, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize="small")


def incidence_curves(axes: Axes, name: str, kind: Column, time: Column, risk: Column, groups: Sequence[str]) -> None:
    """Cumulative incidence of a cause by equal parts of its predicted risk.

    Args:
        axes: to draw in.
        name: of the cause.
        kind: 0 where censored, 1 for the cause, 2 for another: `[patients]`.
        time: days.
        risk: of the cause.
        groups: names of the parts, the lowest risk first.
    """
    part = np.digitize(risk, np.quantile(risk, np.arange(1, len(groups)) / len(groups)))
    times = Grid.of_events(kind > 0, time)
    table = CauseTable.from_patients(kind, time, part, times, Grid(np.arange(len(groups), dtype=np.float64)))
    for place, label in enumerate(groups):
        axes.step(times.values / 365.25, table.group(place).incidence()[0], where="post", label=f"{label} risk")
    axes.set(xlabel="years", ylabel=f"incidence of {name}, by third of its predicted risk", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize="small")


def _rows(result: dict[str, Any], metric: str) -> list[tuple[str, int, dict[str, Any]]]:
    groups = {"overall": {**result["overall"], "n": result["n"]}}
    groups |= {f"hospital: {name}": group for name, group in result["by_hospital"].items()}
    groups |= {f"inputs: {name}": group for name, group in result["by_modality"].items()}
    if result["baseline"]:
        groups["baseline: age and sex"] = {**result["baseline"], "n": result["n"]}
    return [(name, group["n"], group[metric]) for name, group in groups.items() if group[metric]["value"] is not None]


def _forest(axes: Axes, rows: list[tuple[str, int, dict[str, Any]]], metric: str, chance: float | None) -> None:
    for height, (name, _, interval) in enumerate(rows):
        colour = _SOFT if name.startswith("baseline") else _INK
        if interval["low"] is not None:
            axes.plot([interval["low"], interval["high"]], [height, height], color=colour, linewidth=2)
        axes.plot(interval["value"], height, "o", color=colour)
    if chance is not None:
        axes.axvline(chance, color="grey", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [f"{name} (n = {count})" for name, count, _ in rows])
    axes.set_xlabel(f"{metric}, 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)
