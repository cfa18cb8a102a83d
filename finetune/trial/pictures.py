"""The pictures of trial pages."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finetune.trial.design import Design
from finetune.trial.endpoints import Endpoint
from foundation.statistics.figure import Figure as Told
from foundation.statistics.table import Floats

if TYPE_CHECKING:
    from finetune.trial.adjustment import Plan

INK, SOFT, PALE = "#1f3a5f", "#b5651d", "#d5d9de"
_BINS = 8


def powers(design: Design, plan: "Plan") -> Figure:
    """Power by number of patients: formulas as lines, simulated trials as dots with their standard error."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    sizes = np.linspace(max(10, plan.sizes[1] / 4), 1.4 * plan.sizes[0], 100)
    for place, (name, colour) in enumerate((("unadjusted", SOFT), ("adjusted for the score", INK))):
        axes.plot(sizes, [design.power_of(int(n), plan.signals[place]) for n in sizes], color=colour, label=name)
        for size, drawn in zip(plan.sizes, plan.simulated, strict=True):
            axes.errorbar(size, (drawn.plain, drawn.adjusted)[place], drawn.error(), fmt="o", color=colour)
    axes.axhline(design.power, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="patients", ylabel="power", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure


def prognosis(endpoint: Endpoint) -> Figure:
    """Mean outcome by eighth of the score, beside what the prognosis says of them."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    score = endpoint.scored.score
    order = np.array_split(np.argsort(score, kind="stable"), min(_BINS, len(score)))
    middle = [float(np.median(score[rows])) for rows in order]
    for values, colour, name in (
        (endpoint.residual, SOFT, "outcome, mean and standard error"),
        (endpoint.prognosis, INK, "prognosis"),
    ):
        means = [float(values[rows].mean()) for rows in order]
        errors = [float(values[rows].std() / np.sqrt(len(rows))) for rows in order]
        axes.errorbar(
            middle, means, errors if values is endpoint.residual else None, fmt="o-", color=colour, label=name
        )
    axes.set(xlabel="score", ylabel="martingale residual" if endpoint.name == "time_to_event" else "outcome")
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure


def plain(axes: Axes) -> None:
    """Without the frame's upper and right side."""
    axes.spines[["top", "right"]].set_visible(False)


def balance(before: Mapping[str, float], after: Mapping[str, float], line: float) -> Figure:
    """Standardised differences of covariates between the arms, unweighted and weighted (Love plot)."""
    names = sorted(before, key=lambda name: abs(before[name]))
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(names)), layout="constrained")
    axes = figure.subplots()
    for values, colour, text in ((before, SOFT, "as they are"), (after, INK, "weighted")):
        axes.plot([abs(values[name]) for name in names], range(len(names)), "o", color=colour, label=text)
    axes.axvline(line, color="grey", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("absolute standardised difference")
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure


def overlap(chance: Floats, arm: Floats) -> Figure:
    """How often each chance of treatment occurs in either arm."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, 1, 21).tolist()
    for place, colour, text in ((1, INK, "treated"), (0, SOFT, "external controls")):
        axes.hist(chance[arm == place], edges, density=True, color=colour, alpha=0.5, label=text)
    axes.set(xlabel="chance of treatment by covariates", ylabel="density")
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure


def enrichment(figures: Mapping[str, Told], endpoint: str, shares: Sequence[float]) -> Figure:
    """Patients randomised and screened, and months, by threshold; bars are 95 % intervals."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, name in zip(panels, ("randomised", "screened", "months"), strict=True):
        shown = [(share, figures[f"enrichment/{endpoint}/{share:g}/{name}"]) for share in shares]
        for share, one in shown:
            if one.value is not None:
                axes.plot(100 * share, one.value, "o", color=INK)
            if one.low is not None and one.high is not None:
                axes.plot([100 * share] * 2, [one.low, one.high], color=INK, linewidth=1.5)
        axes.set(xlabel="% of scores below the threshold", title=name, ylim=(0, None))
        plain(axes)
    return figure
