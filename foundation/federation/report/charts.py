"""The charts of a federation's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from foundation.federation.report.svg import Svg, rounds_to_name, ticks

WIDTH = 960.0
_LABEL = 170.0  # room for names at the left
_MANY = 40  # rounds from which on a curve has no dots

States = Mapping[str, Sequence[tuple[str, str]]]
Values = Sequence[float | None]


@dataclass
class Panel:
    """One of several small pictures beside one another.

    Attributes:
        title: of it.
        series: by name, a value a round.
        mark: beside the title, such as `held out`.
        end: at its right end, such as the last value.
    """

    title: str
    series: Mapping[str, Values]
    mark: str = ""
    end: str = ""


def participation(rounds: Sequence[int], states: States, marks: Mapping[str, str], title: str) -> Markup:
    """Sites by rounds.

    Args:
        rounds: their numbers.
        states: by site, a state (`both`, `trained`, `evaluated`, `absent`, `nothing`) and what to say of it, a round.
        marks: beneath a site's name.
        title: see `Svg`.
    """
    step = min(44.0, (WIDTH - _LABEL - 10) / max(len(rounds), 1))
    row, top = 26.0, 22.0
    svg = Svg(WIDTH, top + row * len(states) + 6, title)
    for position in rounds_to_name(len(rounds), step):
        svg.text(_LABEL + step * (position + 0.5), 10, str(rounds[position]), "small", "middle")
    gap = min(3.0, step / 8)
    for index, (site, cells) in enumerate(states.items()):
        y = top + row * index
        name(svg, _LABEL - 10, y + row / 2, site, marks.get(site, ""))
        for position, (state, tip) in enumerate(cells):
            x = _LABEL + step * position + gap / 2
            _cell(svg, state, x, y + 2, step - gap, row - 4, f"{site}, round {rounds[position]}: {tip}")
    return svg.render()


def _cell(svg: Svg, state: str, x: float, y: float, width: float, height: float, tip: str) -> None:
    if state == "both":
        svg.rect(x, y, width, height, "c1", tip)
    elif state == "trained":
        svg.rect(x, y, width, height, "hollow c1", tip)
        svg.rect(x, y + height / 2, width, height / 2, "c1", tip)
    elif state == "evaluated":
        svg.rect(x, y, width, height, "hollow c1", tip)
    elif state == "absent":
        reach, x, y = min(width, height, 14) / 2, x + width / 2, y + height / 2
        svg.rect(x - width / 2, y - height / 2, width, height, "bad faint", tip)
        for way in (1, -1):
            svg.line(x - reach, y - way * reach, x + reach, y + way * reach, "cross")
    else:
        svg.add("circle", None, tip, cx=x + width / 2, cy=y + height / 2, r=min(1.5, width / 2), class_="nothing")


def name(svg: Svg, x: float, y: float, text: str, mark: str = "") -> None:
    """A row's name, right-aligned, with a mark before it."""
    shown = text if len(text) <= 22 else f"{text[:21]}…"
    svg.text(x, y, f"{shown} ▸" if mark else shown, "strong" if mark else "", "end", f"{text} {mark}".strip())


def strips(rows: Sequence[str], columns: Sequence[str], shares: Mapping[tuple[str, str], Values], title: str) -> Markup:
    """A table of strips: in each, a round a stripe, the darker the larger its share; beside it the mean."""
    height, top = 26.0, 26.0
    each = (WIDTH - _LABEL) / max(len(columns), 1)
    svg = Svg(WIDTH, top + height * len(rows) + 4, title)
    for place, column in enumerate(columns):
        most = max(int(each / 7), 3)
        shown = column if len(column) <= most else f"{column[: most - 1]}…"
        svg.text(_LABEL + each * place + 4, 12, shown, "strong", tip=column)
    for index, row in enumerate(rows):
        y = top + height * index
        name(svg, _LABEL - 10, y + height / 2, row)
        for place, column in enumerate(columns):
            _strip(svg, _LABEL + each * place + 4, y + 3, each, height - 6, shares[row, column], f"{row}, {column}")
    return svg.render()


def _strip(svg: Svg, x: float, y: float, each: float, height: float, values: Values, tip: str) -> None:
    room = each - (50 if each > 90 else 12)
    width = room / max(len(values), 1)
    for index, value in enumerate(values):
        if value is None:
            svg.rect(x + width * index, y, width, height, "gap")
        elif value:
            svg.rect(
                x + width * index, y, width - (1.5 if width > 6 else 0), height, "c1", None, 0.12 + 0.88 * min(value, 1)
            )
    svg.add("rect", None, tip, x=x, y=y, width=room, height=height, class_="frame")
    known = [value for value in values if value is not None]
    if known and each > 90:
        svg.text(x + room + 6, y + height / 2, f"{sum(known) / len(known):.0%}" if any(known) else "never", "small")


def panels(
    rounds: Sequence[int], shown: Sequence[Panel], title: str, bounds: tuple[float, float] | None = None
) -> Markup:
    """Small pictures that share their axes: a panel a site or a group, a curve a series.

    Args:
        rounds: their numbers.
        shown: the panels.
        title: see `Svg`.
        bounds: of the axis, at least; those of the values if None.
    """
    across, left, height = (3 if len(shown) <= 3 else 4), 46.0, 150.0
    heights = [value for panel in shown for curve in panel.series.values() for value in curve if value is not None]
    low, high = min([*heights, *(bounds or ())]), max([*heights, *(bounds or ())])
    marks = ticks(low, high)
    width = (WIDTH - left) / across
    down = -(-len(shown) // across)
    svg = Svg(WIDTH, height * down + 4, title)
    kinds = {
        kind: index + 1 for index, kind in enumerate(dict.fromkeys(key for panel in shown for key in panel.series))
    }
    for index, panel in enumerate(shown):
        box = (left + width * (index % across), height * (index // across) + 28, width - 22, height - 54)
        _panel(svg, panel, box, rounds, marks, kinds, first=index % across == 0)
    return svg.render()


def _panel(
    svg: Svg,
    panel: Panel,
    box: tuple[float, float, float, float],
    rounds: Sequence[int],
    marks: Sequence[float],
    kinds: Mapping[str, int],
    first: bool,
) -> None:
    x, y, width, height = box
    mark = f" ▸ {panel.mark}" if panel.mark else ""
    most = int((width - 8) / 7.2) - len(mark) - len(panel.end)
    shown = panel.title if len(panel.title) <= most else f"{panel.title[: most - 1]}…"
    svg.text(x, y - 15, shown + mark, "strong", tip=panel.title)
    svg.text(x + width, y - 15, panel.end, "small", "end")
    if panel.mark:
        svg.rect(x - 4, y - 4, width + 8, height + 8, "held")

    def place(position: int, value: float) -> tuple[float, float]:
        along = position / max(len(rounds) - 1, 1) if len(rounds) > 1 else 0.5
        return x + width * along, y + height * (1 - (value - marks[0]) / (marks[-1] - marks[0]))

    for level in marks:
        at = place(0, level)[1]
        svg.line(x, at, x + width, at, "axis" if level == 0 else "grid")
        if first:
            svg.text(x - 8, at, f"{level:g}", "small", "end")
    for position in rounds_to_name(len(rounds), width / max(len(rounds) - 1, 1)):
        svg.text(place(position, marks[0])[0], y + height + 13, str(rounds[position]), "small", "middle")
    for kind, values in panel.series.items():
        points = [None if value is None else place(position, value) for position, value in enumerate(values)]
        svg.curve(points, f"c{kinds[kind]}", dots=len(rounds) <= _MANY)


def bars(rows: Mapping[str, Mapping[str, float]], unit: str, title: str, stacked: bool = True) -> Markup:
    """Horizontal bars, a row a name.

    Args:
        rows: by name, a value a part.
        unit: at the axis.
        title: see `Svg`.
        stacked: parts stand in a row; else beneath one another.
    """
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    lanes = 1 if stacked else max(len(parts), 1)
    height = 20.0 if stacked else 10.0 + 11.0 * lanes
    widest = max((sum(row.values()) if stacked else max(row.values(), default=0) for row in rows.values()), default=0)
    marks = ticks(0, widest)
    room = WIDTH - _LABEL - 90
    svg = Svg(WIDTH, height * len(rows) + 26, title)
    for mark in marks:
        x = _LABEL + room * mark / marks[-1]
        svg.line(x, 0, x, height * len(rows) + 2, "grid")
        svg.text(x, height * len(rows) + 14, f"{mark:g}{f' {unit}' if mark == marks[-1] else ''}", "small", "middle")
    for index, (label, row) in enumerate(rows.items()):
        y, x = height * index, _LABEL
        name(svg, _LABEL - 10, y + height / 2, label)
        for part, value in row.items():
            lane = 0 if stacked else parts.index(part)
            thick = height - 6 if stacked else 10.0
            tip = f"{label}, {part}: {value:.4g} {unit}"
            svg.rect(x, y + 3 + 11.0 * lane, room * value / marks[-1], thick, f"c{parts.index(part) + 1}", tip)
            if stacked:
                x += room * value / marks[-1]
            else:
                svg.text(x + room * value / marks[-1] + 6, y + 8 + 11.0 * lane, f"{value:.4g}", "small")
        if stacked:
            svg.text(x + 6, y + height / 2, f"{sum(row.values()):.4g}", "small")
    return svg.render()


def dots(rows: Mapping[str, Mapping[str, float]], kinds: Sequence[str], unit: str, title: str) -> Markup:
    """A row a place, a dot a run: who does how well where."""
    values = [value for row in rows.values() for value in row.values()]
    marks = ticks(min(values), max(values))
    height, room = 26.0, WIDTH - _LABEL - 60
    svg = Svg(WIDTH, height * len(rows) + 28, title)

    def place(value: float) -> float:
        return _LABEL + 10 + room * (value - marks[0]) / (marks[-1] - marks[0])

    for mark in marks:
        svg.line(place(mark), 0, place(mark), height * len(rows), "grid")
        last = f" {unit}" if mark == marks[-1] else ""
        svg.text(place(mark), height * len(rows) + 14, f"{mark:g}{last}", "small", "middle")
    for index, (label, row) in enumerate(rows.items()):
        y = height * (index + 0.5)
        name(svg, _LABEL - 10, y, label)
        places = [place(value) for value in row.values()]
        svg.line(min(places), y, max(places), y, "axis")
        for kind, value in row.items():
            svg.mark(kinds.index(kind), place(value), y, f"{label}, {kind}: {value:.4g}")
    return svg.render()
