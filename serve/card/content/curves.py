"""Curves of an evaluation: calibration, decision curve, survival by predicted risk, each with the table behind it."""

import math
from collections.abc import Sequence

from serve.card.content.pictures import behind
from serve.card.content.tables import Figures
from serve.card.document import Picture, line
from serve.card.drawing import MARKS, Drawing, Scale, square, ticks
from serve.card.graph import Node

_TOP, _BOTTOM, _LEFT, _RIGHT = 30, 290, 60, 380
_RISKS = ("lowest risk", "second", "third", "fourth")


def curves(figures: Figures, name: Node) -> list[Picture]:
    """Those of which the evaluation keeps curves."""
    made = (_calibration(figures, name), _decision(figures, name), _survival(figures, name))
    return [picture for picture in made if picture is not None]


def _node(figures: Figures, *keys: str | int, style: str = "", unit: str = "") -> Node:
    assert figures.evaluation.results is not None
    name = f"{figures.evaluation.id}/{'/'.join(map(str, keys))}"
    return figures.graph.value(name, figures.evaluation.results, *keys, style=style, unit=unit)


def _at(figures: Figures, *keys: str | int) -> object:
    results = figures.evaluation.results
    return None if results is None else results.at("curves", *keys)


def _calibration(figures: Figures, name: Node) -> Picture | None:
    """Predicted and observed share by bin, of a task of two classes."""
    bins = _at(figures, "calibration")
    if not isinstance(bins, dict) or not {"predicted", "observed", "patients"} <= bins.keys():
        return None
    alt = line("Calibration of ", name, ": observed against predicted share; on the diagonal they are equal.")
    drawing, x, y = Drawing(400, 330, alt), Scale(0, 1, _LEFT, _RIGHT), Scale(0, 1, _BOTTOM, _TOP)
    square(drawing, figures.graph, x, y, "predicted share", "observed share")
    drawing.line(x(0), y(0), x(1), y(1), "guide")
    rows: list[tuple[str | Node, ...]] = []
    for at, (predicted, observed, patients) in enumerate(
        zip(bins["predicted"], bins["observed"], bins["patients"], strict=True)
    ):
        if predicted is None or observed is None:
            continue
        drawing.dot(x(predicted), y(observed), 2 + math.sqrt(patients), "one")
        rows.append(
            tuple(_node(figures, "curves", "calibration", key, at) for key in ("predicted", "observed", "patients"))
        )
    table = behind(("predicted", "observed", "patients"), rows)
    return Picture(f"{figures.evaluation.id}/calibration", drawing.svg(), alt, table)


def _decision(figures: Figures, name: Node) -> Picture | None:
    """Net benefit over thresholds, beside treating all and treating none."""
    curve = _at(figures, "decision")
    if not isinstance(curve, dict) or not {"threshold", "net_benefit", "treat_all"} <= curve.keys():
        return None
    alt = line(
        "Decision curve of ", name, ": net benefit by threshold, beside treating all (dashed) and nobody (zero)."
    )
    top = max([0.1, *(value for value in curve["net_benefit"] if value is not None)])
    drawing, x, y = Drawing(400, 330, alt), Scale(0, 1, _LEFT, _RIGHT), Scale(-0.1, top * 1.1, _BOTTOM, _TOP)
    for value, node in ticks(figures.graph, (0, 0.25, 0.5, 0.75, 1)):
        drawing.line(x(value), y.start, x(value), y.end)
        drawing.text(x(value), y.start + 16, [node], "middle")
    for value, node in ticks(figures.graph, (0, 0.1, 0.2, 0.3, 0.4, 0.5)):
        if value < y.high:
            drawing.line(x.start, y(value), x.end, y(value), "guide" if value == 0 else "grid")
            drawing.text(x.start - 6, y(value) + 4, [node], "end")
    drawing.text((x.start + x.end) / 2, y.start + 34, ["threshold"], "middle")
    drawing.text(2, _TOP - 10, ["net benefit"])
    for key, kind in (("treat_all", "curve two dashed"), ("net_benefit", "curve one")):
        points = [
            (x(at), y(value)) for at, value in zip(curve["threshold"], curve[key], strict=True) if value is not None
        ]
        drawing.path([point for point in points if point[1] < y.start], kind)
    every = range(9, len(curve["threshold"]), 20)
    keys = ("threshold", "net_benefit", "treat_all")
    rows: list[tuple[str | Node, ...]] = [
        tuple(_node(figures, "curves", "decision", key, at) for key in keys) for at in every
    ]
    table = behind(("threshold", "model", "treat all"), rows)
    return Picture(f"{figures.evaluation.id}/decision", drawing.svg(), alt, table)


def _survival(figures: Figures, name: Node) -> Picture | None:
    """Kaplan–Meier curves of patients by predicted risk, with numbers at risk."""
    groups = _at(figures, "kaplan_meier")
    if not isinstance(groups, list) or not groups or len(groups) > len(MARKS):
        return None
    longest = max(group["days"][-1] for group in groups)
    years = max(1, int(longest // 365))
    alt = line(
        "Survival of test patients by the risk that ", name, " predicts: Kaplan–Meier curves with numbers at risk."
    )
    drawing = Drawing(480, 340 + 18 * len(groups), alt)
    x, y = Scale(0, longest, _LEFT, 460), Scale(0, 1, _BOTTOM, _TOP)
    for value, node in ticks(figures.graph, (0, 0.25, 0.5, 0.75, 1)):
        drawing.line(x.start, y(value), x.end, y(value))
        drawing.text(x.start - 6, y(value) + 4, [node], "end")
    for year, node in ticks(figures.graph, range(years + 1)):
        drawing.line(x(year * 365), y.start, x(year * 365), y.end)
        drawing.text(x(year * 365), y.start + 16, [node], "middle")
    drawing.text((x.start + x.end) / 2, y.start + 34, ["years"], "middle")
    drawing.text(2, _TOP - 10, ["share alive"])
    rows: list[tuple[str | Node, ...]] = []
    for at, group in enumerate(groups):
        drawing.path(_steps(group["days"], group["survival"], x, y), f"curve {MARKS[at]}")
        label = "highest risk" if at == len(groups) - 1 and at else _RISKS[at]
        drawing.dot(x.start - 48, y.start + 48 + 18 * at, 4, MARKS[at])
        drawing.dot(130 + 95 * at, _TOP - 14, 4, MARKS[at])
        drawing.text(138 + 95 * at, _TOP - 10, [label])
        for year in range(years + 1):
            # At risk are those whom the next day with a change still counts.
            day = next((index for index, days in enumerate(group["days"]) if days >= year * 365), None)
            if day is None:
                break
            risk, alive = (_node(figures, "curves", "kaplan_meier", at, key, day) for key in ("at_risk", "survival"))
            drawing.text(x(year * 365), y.start + 52 + 18 * at, [risk], "middle")
            rows.append(
                (label, _node(figures, "curves", "kaplan_meier", at, "days", day, style="setting"), risk, alive)
            )
    table = behind(("predicted", "next day with a change", "at risk", "share alive"), rows)
    return Picture(f"{figures.evaluation.id}/survival", drawing.svg(), alt, table)


def _steps(days: Sequence[float], survival: Sequence[float | None], x: Scale, y: Scale) -> list[tuple[float, float]]:
    """A curve that holds its value until the next, up to where it is defined."""
    points = [(x.start, y(1.0))]
    for day, alive in zip(days, survival, strict=True):
        if alive is None:
            break
        points += [(x(day), points[-1][1]), (x(day), y(alive))]
    return points
