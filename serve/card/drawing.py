"""Drawings in SVG whose texts are words and nodes, in the colours of the page that holds them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from serve.card.document import Line
from serve.card.graph import Graph, Node

MARKS = ("one", "two", "three", "four")  # classes of series, for which the page has colours


@dataclass
class Drawing:
    """A drawing under construction.

    Args:
        width, height: in units of its own.
        alt: what it shows.
    """

    width: float
    height: float
    alt: Line
    parts: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> None:
        """A straight line."""
        self.parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def path(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """A line through points."""
        steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(f'<path class="{kind}" d="M{steps}"/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str, share: float = 1.0) -> None:
        """A filled box; `share` of one is how much of its colour shows."""
        size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self.parts.append(f'<rect class="{kind}" {size} fill-opacity="{share:.2f}"/>')

    def image(self, side: float, data: str) -> None:
        """A square PNG, base64, that fills the drawing from its corner."""
        self.parts.append(
            f'<image width="{side:.0f}" height="{side:.0f}" href="data:image/png;base64,{escape(data)}"/>'
        )

    def dot(self, x: float, y: float, radius: float, kind: str) -> None:
        """A filled circle."""
        self.parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')

    def text(self, x: float, y: float, parts: Sequence[str | Node], anchor: str = "start") -> None:
        """Words and nodes in a row."""
        inner = "".join(
            f'<tspan data-node="{escape(part.id)}">{escape(part.text)}</tspan>'
            if isinstance(part, Node)
            else escape(part)
            for part in parts
        )
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{inner}</text>')

    def svg(self) -> str:
        """The markup."""
        label = escape("".join(part.text if isinstance(part, Node) else part for part in self.alt))
        box = f'viewBox="0 0 {self.width:.0f} {self.height:.0f}"'
        return f'<svg {box} role="img" aria-label="{label}">\n' + "\n".join(self.parts) + "\n</svg>"


@dataclass(frozen=True)
class Scale:
    """From values to places.

    Attributes:
        low, high: values at the ends.
        start, end: places of the ends.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value, kept between the ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(graph: Graph, values: Sequence[float]) -> list[tuple[float, Node]]:
    """Marks of an axis, as nodes of which no record is the source."""
    marks = []
    for value in values:
        rounded = round(value, 6)
        marks.append((rounded, graph.derived(f"axis/{rounded:g}", rounded, "a mark of an axis", [], style="setting")))
    return marks


def square(drawing: Drawing, graph: Graph, horizontal: Scale, vertical: Scale, x: str, y: str) -> None:
    """Axes of a diagram of shares, with a grid and the names of both."""
    for value, node in ticks(graph, (0, 0.25, 0.5, 0.75, 1)):
        drawing.line(horizontal(value), vertical.start, horizontal(value), vertical.end)
        drawing.line(horizontal.start, vertical(value), horizontal.end, vertical(value))
        drawing.text(horizontal(value), vertical.start + 16, [node], "middle")
        drawing.text(horizontal.start - 6, vertical(value) + 4, [node], "end")
    drawing.text((horizontal.start + horizontal.end) / 2, vertical.start + 34, [x], "middle")
    drawing.text(2, vertical.end - 10, [y])
