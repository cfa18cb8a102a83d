"""The pictures of groups."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from finetune.stratification.comparison import Comparison
from finetune.trial.pictures import plain

COLOURS = ["#3a7d44", "#7f6a00", "#b5651d", "#8e4585", "#1f3a5f", "#2a9d8f", "#c0392b", "#5c6b73", "#d4779c"]


def curves(comparison: Comparison, unit: str = "days") -> Figure:
    """Kaplan–Meier by group with pointwise 95 % intervals (Greenwood), and how many are still followed below."""
    names = comparison.names
    figure = Figure(figsize=(7.5, 4 + 0.22 * len(names)), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=(4, 0.3 * len(names) + 0.4), sharex=True)
    times = comparison.table.times.values
    ticks = np.asarray(MaxNLocator(6, integer=True).tick_values(0, float(times[-1])), dtype=np.float64)
    ticks = ticks[(ticks >= 0) & (ticks <= times[-1])]
    counts = comparison.at_risk(ticks)
    colours = [COLOURS[0], COLOURS[2], COLOURS[6]] if len(names) == 3 else COLOURS
    for group, name in enumerate(names):
        size = sum(comparison.sizes[group].values())
        curve = comparison.table.group(group).kaplan_meier()
        followed = curve.at_risk[0] > 0
        days = np.concatenate([[0.0], times[followed]])
        value = np.concatenate([[1.0], curve.value[0, followed]])
        error = 1.96 * np.sqrt(np.concatenate([[0.0], np.nan_to_num(curve.variance[0, followed])]))
        colour = colours[group % len(colours)]
        axes.step(days, value, where="post", color=colour, label=f"{name} ({size})")
        axes.fill_between(
            days, np.clip(value - error, 0, 1), np.clip(value + error, 0, 1), step="post", color=colour, alpha=0.15
        )
        for tick, count in zip(ticks, counts[group], strict=True):
            below.text(tick, group, str(count), ha="center", va="center", fontsize=8)
    axes.set(ylim=(0, 1.02), ylabel="free of the event")
    axes.legend(frameon=False, fontsize=9)
    below.set_yticks(range(len(names)), names, fontsize=8)
    below.set_ylim(len(names) - 0.5, -0.5)
    below.set_xlabel(f"{unit}; still followed, below")
    for part in (axes, below):
        plain(part)
    below.spines["left"].set_visible(False)
    below.tick_params(left=False)
    return figure
