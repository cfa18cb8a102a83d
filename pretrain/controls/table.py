"""A run beside its negative controls: means over seeds with intervals, and the gain over each control."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from foundation.files import replacing

Figures = dict[str, dict[int, dict[str, float]]]  # by arm, by seed, by name

REFERENCE = "aligned"


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over seeds and its 95 % interval (Student's t)."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def gains(figures: Figures, name: str) -> dict[str, tuple[float, float, float]]:
    """By control, how far the run lies above it in one figure: mean of the differences seed by seed, 95 % interval."""
    differences = {}
    for arm, by_seed in figures.items():
        seeds = [seed for seed in by_seed if name in by_seed[seed] and name in figures[REFERENCE].get(seed, {})]
        if arm != REFERENCE and seeds:
            differences[arm] = interval([figures[REFERENCE][seed][name] - by_seed[seed][name] for seed in seeds])
    return differences


def markdown(figures: Figures, names: Sequence[str], title: str) -> str:
    """The table that people read."""
    lines = [f"# {title}", "", "Mean over seeds (95 % interval).", ""]
    lines += ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for arm, by_seed in figures.items():
        cells = [_cell([values[name] for values in by_seed.values() if name in values]) for name in names]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    lines += ["", f"Gain of `{REFERENCE}` over each control, seed by seed; an interval above 0 is a gain.", ""]
    lines += ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    gained = {name: gains(figures, name) for name in names}
    for arm in figures:
        if arm != REFERENCE:
            cells = [_interval_text(gained[name][arm]) if arm in gained[name] else "–" for name in names]
            lines.append(f"| over {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(figures: Figures, names: Sequence[str], path: Path) -> None:
    """A panel a figure: every seed a dot, the mean with its interval."""
    picture = Figure(figsize=(3.2 * len(names), 3.4), layout="constrained")
    for axis, name in zip(picture.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for row, (arm, by_seed) in enumerate(reversed(figures.items())):
            values = [each[name] for each in by_seed.values() if name in each]
            if not values:
                continue
            mean, low, high = interval(values)
            colour = "#1b6ca8" if arm == REFERENCE else "#888888"
            axis.plot(values, [row] * len(values), ".", color=colour, alpha=0.4)
            axis.errorbar(mean, row, xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=3)
        axis.set_yticks(range(len(figures)), list(reversed(figures)))
        axis.set_title(name, fontsize=9)
        axis.grid(axis="x", alpha=0.3)
    with replacing(path) as temporary:
        picture.savefig(temporary, format="png", dpi=150)


def _cell(values: Sequence[float]) -> str:
    return _interval_text(interval(values)) if values else "–"


def _interval_text(figures: tuple[float, float, float]) -> str:
    mean, low, high = figures
    return f"{mean:.3f}" if math.isnan(low) else f"{mean:.3f} ({low:.3f} to {high:.3f})"
