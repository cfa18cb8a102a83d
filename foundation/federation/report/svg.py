"""Pictures drawn as SVG that takes its colours from the page, so that they read in light, in dark and in print."""

import math
from collections.abc import Sequence
from html import escape

from markupsafe import Markup

_STEPS = (1, 2, 2.5, 5, 10)
_SHAPES = ("M-6 0A6 6 0 1 0 6 0A6 6 0 1 0 -6 0Z", "M-5 -5H5V5H-5Z", "M0 -7L7 0L0 7L-7 0Z", "M-6 5L0 -6L6 5Z")


class Svg:
    """A picture, element by element.

    Args:
        width: in pixels of its own; the page scales it down where there is less room.
        height: likewise.
        title: what it shows, said in its place to who cannot see it.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width = width
        self.height = height
        self.title = title
        self._parts: list[str] = []

    def add(self, tag: str, text: str | None = None, tip: str | None = None, **attributes: str | float) -> None:
        """An element.

        Args:
            tag: of SVG.
            text: inside it.
            tip: shown where the pointer rests on it.
            attributes: `_` stands for `-`, and is dropped at the end of a name.
        """
        pairs = "".join(f' {_attribute(name)}="{_value(value)}"' for name, value in attributes.items())
        inside = escape(text or "") + (f"<title>{escape(tip)}</title>" if tip else "")
        self._parts.append(f"<{tag}{pairs}>{inside}</{tag}>")

    def text(self, x: float, y: float, text: str, class_: str = "", anchor: str = "start", tip: str = "") -> None:
        """Text whose middle line is at `y`."""
        self.add("text", text, tip or None, x=x, y=y, text_anchor=anchor, dy="0.35em", class_=class_)

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)

    def rect(
        self, x: float, y: float, width: float, height: float, class_: str, tip: str | None = None, opacity: float = 1.0
    ) -> None:
        self.add("rect", None, tip, x=x, y=y, width=max(width, 0), height=height, class_=class_, fill_opacity=opacity)

    def curve(self, points: Sequence[tuple[float, float] | None], class_: str, dots: bool) -> None:
        """A line with a gap at every None; its end is a dot, and so is a point between gaps."""
        runs: list[list[tuple[float, float]]] = [[]]
        for point in points:
            if point is None:
                runs.append([])
            else:
                runs[-1].append(point)
        segments = [run for run in runs if run]
        for run in segments:
            path = "M" + "L".join(f"{_value(x)} {_value(y)}" for x, y in run)
            self.add("path", d=path, class_=f"curve {class_}")
            for x, y in run if dots or len(run) == 1 else run[-1:] if run is segments[-1] else []:
                self.add("circle", cx=x, cy=y, r=2.6, class_=f"dot {class_}")

    def mark(self, kind: int, x: float, y: float, tip: str = "") -> None:
        """A mark of a series: they differ in shape as well as in colour."""
        place = f"translate({x:.2f} {y:.2f})"
        self.add("path", None, tip or None, d=_SHAPES[kind % 4], transform=place, class_=f"mark c{kind % 5 + 1}")

    def render(self) -> Markup:
        size = f'viewBox="0 0 {_value(self.width)} {_value(self.height)}" width="{_value(self.width)}"'
        head = f'<svg {size} role="img" aria-label="{escape(self.title)}" xmlns="http://www.w3.org/2000/svg">'
        return Markup(head + "".join(self._parts) + "</svg>")  # every text was escaped when it was added


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):  # one value, up to rounding
        low, high = (low - 0.5, low + 0.5) if low else (0.0, 1.0)
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in _STEPS if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{step * index:.12g}") for index in range(first, last + 1)]


def rounds_to_name(count: int, room: float, width: float = 26.0) -> list[int]:
    """Positions of rounds, counted from 0, that have room for their number."""
    every = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if step * room >= width)
    first = {0} if every > 2 else set()
    return sorted({*first, *range(every - 1, count, every)})


def _attribute(name: str) -> str:
    kept = name.rstrip("_")
    return kept if kept == "viewBox" else kept.replace("_", "-")


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
