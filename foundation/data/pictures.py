"""The pictures of a cohort's page: who has what, and how hospitals differ."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from lifelines import KaplanMeierFitter
from matplotlib.axes import Axes
from numpy.typing import NDArray

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_INK, _PALE = "#1f3a5f", "#d5d9de"
_COLOURS = ["#1f3a5f", "#b5651d", "#3a7d44", "#8e4585", "#c0392b", "#2a9d8f", "#7f6a00", "#5c6b73", "#d4779c"]
_MOST_CURVES = len(_COLOURS)


def flow(ways: Sequence[tuple[str, int]]) -> Figure:
    """A chart of the patients that are left after each step, one below the other (as in CONSORT; Schulz et al. 2010).

    Args:
        ways: each step and how many are left.
    """
    figure = Figure(figsize=(6.5, 0.4 + 0.62 * len(ways)), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    axes.set_xlim(0, 1)
    axes.set_ylim(-len(ways) + 0.4, 0.6)
    box = {"boxstyle": "round", "facecolor": "white", "edgecolor": _INK}
    for place, (step, patients) in enumerate(ways):
        axes.text(0.5, -place, f"{step}: {patients}", ha="center", va="center", fontsize=9, bbox=box)
        if place:
            axes.annotate(
                "", (0.5, -place + 0.26), (0.5, -place + 0.74), arrowprops={"arrowstyle": "->", "color": _INK}
            )
    return figure


def upset(presence: pd.DataFrame, most: int = 20) -> Figure:
    """Which modalities patients have together (UpSet; Lex et al. 2014).

    Args:
        presence: bool `[patients, modalities]`.
        most: combinations drawn, the largest first.
    """
    names = list(presence.columns)
    counts = presence.value_counts().head(most)
    figure = Figure(figsize=(max(5.5, 2.4 + 0.42 * len(counts)), 1.6 + 0.32 * len(names) + 1.8), layout="constrained")
    (blank, bars), (totals, dots) = figure.subplots(
        2, 2, width_ratios=(1.4, 4), height_ratios=(2, 0.32 * len(names) + 0.4), sharex="col", sharey="row"
    )
    blank.axis("off")
    at = np.arange(len(counts))
    bars.bar(at, counts.to_numpy(), color=_INK, width=0.6)
    for x, value in zip(at, counts, strict=True):
        bars.text(x, value, str(value), ha="center", va="bottom", fontsize=8)
    bars.set_ylabel("patients")
    rows = np.arange(len(names))
    dots.set_yticks(rows, names)
    dots.tick_params(left=False, bottom=False, labelbottom=False)
    for x, combination in zip(at, counts.index, strict=True):
        present = np.flatnonzero(np.asarray(combination, dtype=bool))
        dots.plot(np.full(len(names), x), rows, "o", color=_PALE, markersize=7)
        dots.plot(np.full(len(present), x), present, "o-", color=_INK, markersize=7)
    totals.barh(rows, presence.sum().to_numpy(), color=_INK, height=0.5)
    totals.invert_xaxis()
    totals.invert_yaxis()
    totals.set_xlabel("patients with it")
    totals.tick_params(labelleft=False, left=False)
    dots.yaxis.set_tick_params(labelleft=True)
    for axes in (bars, dots, totals):
        _plain(axes)
    return figure


def survival(patients: pd.DataFrame, event: str, time: str) -> Figure:
    """Kaplan–Meier by hospital, with how many are still followed."""
    known = patients[patients[[event, time]].notna().all(axis=1)]
    names = known["hospital"].value_counts().index[:_MOST_CURVES]
    figure = Figure(figsize=(7.5, 4 + 0.2 * len(names)), layout="constrained")
    curve, table = figure.subplots(2, 1, height_ratios=(4, 0.3 * len(names) + 0.5), sharex=True)
    ticks = MaxNLocator(6, integer=True).tick_values(0, float(known[time].max()))
    ticks = ticks[ticks <= known[time].max()]
    for index, name in enumerate(names):
        members = known[known["hospital"] == name]
        fitted = KaplanMeierFitter().fit(members[time], members[event])
        steps = fitted.survival_function_
        curve.step(steps.index, steps.iloc[:, 0], where="post", color=_COLOURS[index], label=f"{name} ({len(members)})")
        for tick in ticks:
            table.text(tick, index, str(int((members[time] >= tick).sum())), ha="center", va="center", fontsize=8)
    curve.set_ylim(0, 1.02)
    curve.set_ylabel("free of the event")
    curve.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    table.set_yticks(range(len(names)), names, fontsize=8)
    table.set_ylim(len(names) - 0.5, -0.5)
    table.set_xlabel("days; still followed, below")
    for axes in (curve, table):
        _plain(axes)
    table.spines["left"].set_visible(False)
    table.tick_params(left=False)
    return figure


def boxes(values: Mapping[str, NDArray[np.floating]], label: str) -> Figure:
    """One box a hospital, whiskers from the 5th to the 95th percentile."""
    figure = Figure(figsize=(7.5, 0.9 + 0.34 * len(values)), layout="constrained")
    axes = figure.subplots()
    look: dict[str, Any] = {"whis": (5, 95), "showfliers": False, "medianprops": {"color": _COLOURS[1]}}
    axes.boxplot(list(values.values()), orientation="horizontal", **look)
    axes.set_yticks(
        range(1, len(values) + 1), [f"{name} ({len(numbers)})" for name, numbers in values.items()], fontsize=8
    )
    axes.invert_yaxis()
    axes.set_xlabel(label)
    _plain(axes)
    return figure


def scatter(points: Mapping[str, NDArray[np.floating]], x: str, y: str) -> Figure:
    """One dot a patient `[patients, 2]`, coloured by hospital."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, (name, places) in enumerate(points.items()):
        colour = _COLOURS[index] if index < _MOST_CURVES else _PALE
        axes.plot(places[:, 0], places[:, 1], "o", markersize=3, alpha=0.6, color=colour, label=name, rasterized=True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _plain(axes)
    return figure


def as_data_url(figure: Figure) -> str:
    """The figure as it stands inside a page: SVG, the same bytes for the same data."""
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "consilium"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
