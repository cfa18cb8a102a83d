"""The report of an evaluation for who reads it at a bedside, not at a terminal: one HTML file, from `results.json`."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finetune.page import Page
from finetune.results import MODEL
from foundation.data.sections import Section, section

_INK, _SOFT, _COLOURS = "#1f3a5f", "#b5651d", ("#2a7f62", "#b5651d", "#8c2f39")
_MOST = 6  # measures of a heat map
_RELIED = ("coverage", "abstained", "out_of_distribution", "risk_answered", "risk")
_GROUPS = {2: ("lower", "higher"), 3: ("low", "middle", "high")}
Rows = list[dict[str, Any]]


def report(results: Mapping[str, Any], primary: str, lead: list[str], first: str = "") -> Page:
    """The page.

    Args:
        results: content of `results.json`.
        primary: the measure by which groups are compared.
        lead: paragraphs before the sections.
        first: what is said before anything else.
    """
    rows = [row for row in results["figures"] if row["model"] == MODEL]
    sections = [
        _main(rows),
        _forest_section(rows, primary),
        _subsets(rows, primary, results.get("calibration", {})),
        _reliance(rows, results["curves"]),
    ]
    for name, curves in _parts(results["curves"]):
        sections.append(_curves(curves, name))
    return Page(f"{results['task']}: how well it does", lead, [one for one in sections if one], first=first)


def _main(rows: Rows) -> Section:
    whole = [row for row in rows if (row["subset"], row["group"]) == ("all", "all")]
    table = pd.DataFrame(
        {
            "value": [_words(row) for row in whole],
            "at a new hospital": [_range(row["new_hospital"]) for row in whole],
            "patients": [row["n"] for row in whole],
            "what it is": [row["estimator"] for row in whole],
        },
        index=[row["metric"] for row in whole],
    )
    return section(
        "All figures",
        [table],
        note="In brackets: 95 % intervals, by drawing patients; at a new hospital: by drawing hospitals.",
    )


def _forest_section(rows: Rows, primary: str) -> Section | None:
    shown = [row for row in rows if row["metric"] == primary and row["subset"] == "all" and row["value"] is not None]
    if not shown:
        return None
    figure, axes = _axes(0.34 * len(shown) + 1.2)
    for height, row in enumerate(reversed(shown)):
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [height, height], color=_INK, linewidth=2)
        axes.plot(row["value"], height, "o", color=_SOFT if row["group"] == "all" else _INK)
    labels = [
        f"{'all' if row['group'] == 'all' else row['group'] + ': ' + row['level']} (n = {row['n']})" for row in shown
    ]
    axes.set_yticks(range(len(shown)), labels[::-1])
    axes.axvline(shown[0]["value"], color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel(f"{primary}, 95 % interval")
    note = "Groups of too few patients have no figure and are left out."
    return section("By hospital and subgroup", [], figure, note=note)


def _subsets(rows: Rows, primary: str, calibration: Mapping[str, str]) -> Section | None:
    whole = [row for row in rows if row["group"] == "all"]
    subsets = list(dict.fromkeys(row["subset"] for row in whole))
    names = [primary, *(row["metric"] for row in whole if row["metric"] not in (primary, *_RELIED))]
    names = list(dict.fromkeys(names))[:_MOST]
    values = {(row["subset"], row["metric"]): row["value"] for row in whole}
    table = np.array([[values.get((subset, name)) for name in names] for subset in subsets], dtype=np.float64)
    defined = np.asarray(~np.isnan(table).all(axis=0))
    table, names = table[:, defined], [name for name, there in zip(names, defined, strict=True) if there]
    if len(subsets) < 2 or not names:
        return None
    figure, axes = _axes(0.4 * len(subsets) + 1.4)
    spread = np.nanmax(table, axis=0) - np.nanmin(table, axis=0)
    axes.imshow(
        (table - np.nanmin(table, axis=0)) / np.where(spread > 0, spread, 1), cmap="Blues", alpha=0.6, aspect="auto"
    )
    for place in np.ndindex(table.shape):
        text = "–" if np.isnan(table[place]) else f"{table[place]:.3f}"
        axes.text(place[1], place[0], text, ha="center", va="center", fontsize=8)
    counts = {row["subset"]: row["n"] for row in whole if row["metric"] == primary}
    axes.set_yticks(
        range(len(subsets)), [f"{name} (n = {counts[name]})" if name in counts else name for name in subsets]
    )
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    note = "Each row: patients who have any of these inputs. Shades compare within a column; of errors, less is better."
    if calibration:
        note += f" Temperature fitted on: {'; '.join(f'{label}: {words}' for label, words in calibration.items())}."
    return section("By what a patient has", [], figure, note=note)


def _reliance(rows: Rows, curves: Mapping[str, Any]) -> Section | None:
    shown = [row for row in rows if row["metric"] in _RELIED and row["subset"] == "all"]
    if not shown:
        return None
    levels = list(dict.fromkeys("all" if row["group"] == "all" else row["level"] for row in shown))
    words = {("all" if row["group"] == "all" else row["level"], row["metric"]): _words(row) for row in shown}
    table = pd.DataFrame({name: [words.get((level, name), "–") for level in levels] for name in _RELIED}, index=levels)
    figures = []
    curve = curves.get("risk_coverage", {"coverage": [], "risk": []})
    points = [(share, risk) for share, risk in zip(curve["coverage"], curve["risk"], strict=True) if risk is not None]
    if points:
        figure, axes = _axes(3.2)
        axes.plot(*zip(*points, strict=True), color=_INK)
        axes.set(xlabel="share of patients answered, the most certain first", ylabel="risk among them", xlim=(0, 1))
        figures.append(figure)
    note = "Coverage: how often the set or interval holds the truth. Abstained: no answer, for a reason that is said."
    return section("How far answers can be relied on", [table], *figures, note=note)


def _curves(curves: Mapping[str, Any], name: str) -> Section | None:
    drawn: dict[str, Callable[[Axes, Any], None]] = {
        "calibration": _calibration,
        "decision": _decision,
        "kaplan_meier": _kaplan_meier,
        "incidence": partial(_incidence, name),
    }
    figures, notes = [], []
    for kind, draw in drawn.items():
        if curves.get(kind):
            figure, axes = _axes(3.6)
            draw(axes, curves[kind])
            figures.append(figure)
    if "log_rank" in curves and curves["log_rank"]["p"] is not None:
        notes.append(f"Log-rank test of the risk groups: p = {curves['log_rank']['p']:.2g}.")
    title = "Calibration and use" if not name else f"Calibration and use: {name}"
    return section(title, [], *figures, note=" ".join(notes)) if figures else None


def _calibration(axes: Axes, curve: Any) -> None:
    """Observed against predicted: of bins of probability, or of risk groups at each horizon."""
    groups = curve if isinstance(curve, list) else [curve]
    for place, group in enumerate(groups):
        pairs = [(x, y) for x, y in zip(group["predicted"], group["observed"], strict=True) if None not in (x, y)]
        if pairs:
            label = None if len(groups) == 1 else f"risk group {place + 1}"
            axes.plot(*zip(*pairs, strict=True), "o-", color=_colour(place, len(groups)), label=label)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="predicted", ylabel="observed", xlim=(0, 1), ylim=(0, 1))
    if len(groups) > 1:
        axes.legend(frameon=False, fontsize=8)


def _decision(axes: Axes, curve: Mapping[str, Any]) -> None:
    for key, label, colour in (("net_benefit", "model", _INK), ("treat_all", "treat all", _SOFT)):
        values = [np.nan if value is None else value for value in curve[key]]
        axes.plot(curve["threshold"], values, color=colour, label=label)
    axes.axhline(0, color="grey", linewidth=0.8, label="treat none")
    top = max([value for value in curve["net_benefit"] if value is not None], default=1.0)
    axes.set(xlabel="threshold of probability", ylabel="net benefit", ylim=(-0.05, max(top, 0.05) * 1.1))
    axes.legend(frameon=False, fontsize=8)


def _kaplan_meier(axes: Axes, groups: list[dict[str, Any]]) -> None:
    names = _GROUPS.get(len(groups), tuple(f"group {place + 1}" for place in range(len(groups))))
    for place, group in enumerate(groups):
        years = np.array([0.0, *group["days"]]) / 365.25
        alive = np.array([1.0, *(np.nan if value is None else value for value in group["survival"])])
        axes.step(years, alive, where="post", color=_colour(place, len(groups)), label=f"{names[place]} risk")
    axes.set(xlabel="years", ylabel="survival, by predicted risk", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=8)


def _incidence(name: str, axes: Axes, groups: list[dict[str, Any]]) -> None:
    """Of a cause, by what its risk was predicted to be; other causes are no censoring."""
    names = _GROUPS.get(len(groups), tuple(f"group {place + 1}" for place in range(len(groups))))
    for place, group in enumerate(groups):
        years = np.array([0.0, *group["days"]]) / 365.25
        chance = np.array([0.0, *(np.nan if value is None else value for value in group["incidence"])])
        axes.step(years, chance, where="post", color=_colour(place, len(groups)), label=f"{names[place]} risk")
    axes.set(xlabel="years", ylabel=f"incidence of {name}, by predicted risk", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=8)


def _parts(curves: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Curves of one outcome, or of each class, label or cause."""
    yield "", curves
    for name, part in curves.items():
        if isinstance(part, Mapping) and "calibration" in part:
            yield name, part


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colour(place: int, count: int) -> str:
    return _INK if count == 1 else _COLOURS[place % len(_COLOURS)]


def _words(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return f"not defined ({row['reason']})"
    return f"{row['value']:.3f}{_range(row)}"


def _range(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f" ({row['low']:.3f} – {row['high']:.3f})"
