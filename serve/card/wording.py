"""How a card spells values."""

import re
from collections.abc import Callable
from typing import Any


def show(value: Any) -> str:
    """A value as the card prints it: whole numbers whole, others to three places."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if value != value:
            return "–"
        return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.2e}"
    return str(value)


def setting(value: Any) -> str:
    """A setting as a person would type it: 0.2 rather than 0.200, 0 rather than 0.0."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return show(value)


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None or seconds != seconds:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def percent(share: float | None) -> str:
    """A share of one in whole percent."""
    return "–" if share is None or share != share else f"{100 * share:.0f} %"


def digest(value: Any) -> str:
    """The first twelve characters, which tell digests apart."""
    return "–" if value is None else str(value)[:12]


def interval(value: float | None, low: float | None, high: float | None, style: str = "") -> str:
    """A figure with its interval, where it has one; each end in one of the ways of `spell`."""
    if value is None:
        return "–"
    if low is None or high is None:
        return spell(value, style)
    return f"{spell(value, style)} ({spell(low, style)} – {spell(high, style)})"


def cell(value: Any) -> str:
    """A text that cannot break out of a Markdown table or become markup."""
    text = " ".join(str(value).split()).replace("\\", "\\\\")
    return re.sub(r"([|<>`*_\[\]])", r"\\\1", text)


_STYLES: dict[str, Callable[[Any], str]] = {
    "": show,
    "setting": setting,
    "duration": duration,
    "percent": percent,
    "digest": digest,
}


def spell(value: Any, style: str) -> str:
    """A value in one of the ways above: as it is where `style` is empty."""
    return _STYLES[style](value)
