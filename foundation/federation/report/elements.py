"""Elements of the report's sections: parts, tables, legends, and numbers as text."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from foundation.federation.report.svg import Svg

NOT_MEASURED = "not measured"


@dataclass
class Table:
    """Numbers beside a picture.

    Attributes:
        caption: what they are.
        heads: of the columns.
        rows: cells as text, the first of each names its row.
        text: columns that hold words and stand at the left, counted from 0.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Sequence[int] = ()


@dataclass
class Part:
    """A picture with its keys and its table; or what was not measured."""

    heading: str = ""
    keys: Sequence[Markup] = ()
    picture: Markup | None = None
    table: Table | None = None
    unmeasured: str = ""
    fold: str = ""  # said in place of a table that is long and has no picture


@dataclass
class Section:
    """A question about the run, answered."""

    title: str
    parts: Sequence[Part]
    notes: Sequence[str] = field(default_factory=list)
    verdict: str = ""
    good: bool = True


def unmeasured(what: str, where: str = "history.json", heading: str = "") -> Part:
    """Says that nothing was written down."""
    return Part(heading, unmeasured=f"{what}: {NOT_MEASURED} ({where} does not hold it).")


def reasons(heading: str, by_round: Iterable[tuple[int, Mapping[str, str]]]) -> list[Part]:
    """By site and reason, the rounds; nothing where there are none.

    Args:
        heading: of the table.
        by_round: numbers of rounds, with a reason by site.
    """
    rounds: dict[tuple[str, str], list[int]] = {}
    for number_, sites in by_round:
        for site, reason in sites.items():
            rounds.setdefault((site, reason), []).append(number_)
    rows = [[site, spans(numbers), reason] for (site, reason), numbers in rounds.items()]
    table = Table("By site and reason", ["site", "rounds", "reason"], rows, text=(1, 2))
    return [Part(heading, table=table)] if rows else []


def key(text: str, index: int = 0, kind: str = "bar") -> Markup:
    """An entry of a legend.

    Args:
        text: of it.
        index: of the series, counted from 0.
        kind: `bar`, `line`, `half`, `hollow`, `cross`, `dot` or `mark`.
    """
    svg, class_ = Svg(14, 14, text), f"c{index % 5 + 1}"
    if kind == "bar":
        svg.rect(1, 1, 12, 12, class_)
    elif kind == "line":
        svg.line(0, 7, 14, 7, f"curve {class_}")
        svg.add("circle", cx=7, cy=7, r=2.6, class_=f"dot {class_}")
    elif kind == "dot":
        svg.add("circle", cx=7, cy=7, r=2, class_="nothing")
    elif kind == "mark":
        svg.mark(index, 7, 7)
    elif kind == "cross":
        svg.rect(0, 0, 14, 14, "bad faint")
        svg.line(3, 3, 11, 11, "cross")
        svg.line(3, 11, 11, 3, "cross")
    else:
        svg.rect(1, 1, 12, 12, f"hollow {class_}")
        if kind == "half":
            svg.rect(1, 7, 12, 6, class_)
    return svg.render() + text


def keys(names: Iterable[str], kind: str = "bar") -> list[Markup]:
    """A legend of series in their order."""
    return [key(name, index, kind) for index, name in enumerate(names)]


def number(value: float | None, digits: int = 4) -> str:
    """A number with some digits that count; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def size(count: float) -> str:
    """Bytes, in decimal units."""
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{count / power:.3g} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds >= 5400:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 120 else f"{seconds:.3g} s"


def spans(numbers: Sequence[int]) -> str:
    """`1–3, 5` of 1, 2, 3 and 5."""
    runs: list[list[int]] = []
    for value in sorted(numbers):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
