"""Numbers and names for the card, each read from a run's file and remembered with the place it came from."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import read_json

_DIGEST = re.compile(r"[0-9a-f]{32,64}")
_NAMES = re.compile(r"`[^`\n]*`|\]\([^)\n]*\)")  # commands, folders, digests and files linked: names, not results
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass
class Facts:
    """What a card may say.

    Args:
        root: the folder that sources are named from.
    """

    root: Path
    sources: dict[str, Any] = field(default_factory=dict)
    _files: dict[Path, Any] = field(default_factory=dict)

    def read(self, path: Path, *keys: str, default: Any = None) -> Any:
        """The value under keys of a JSON file; remembered as `file#key/key`, whatever lies in it included."""
        value = self._load(path)
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                return default
            value = value[key]
        self._remember(f"{os.path.relpath(path, self.root)}#{'/'.join(keys)}", value)
        return value

    def check(self, text: str, wording: str) -> None:
        """Holds every number of a text against the facts.

        Args:
            text: the rendered card.
            wording: the template, whose own numbers ("95 %") are no results.

        Raises:
            UserError: naming the first number that no run record holds.
        """
        known = set(_NUMBER.findall(wording))
        for source, value in self.sources.items():
            known.update(_NUMBER.findall(source))  # names of hospitals, modalities and metrics are keys there
            if not _DIGEST.fullmatch(str(value)):
                known.update(_NUMBER.findall(str(value)))
            if isinstance(value, int | float) and not isinstance(value, bool):
                known.update(_NUMBER.findall(show(value)))
                known.update(_NUMBER.findall(duration(value)))
                known.update(_NUMBER.findall(setting(value)))
        for number in _NUMBER.findall(_NAMES.sub("", text)):
            if number not in known:
                raise UserError(f"card: the number {number} is in no run record; take it from one or drop it")

    def _load(self, path: Path) -> Any:
        if path not in self._files:
            self._files[path] = read_json(path, "run the step that writes it again")
        return self._files[path]

    def _remember(self, source: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                self._remember(f"{source}/{key}", inner)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self._remember(f"{source}/{index}", inner)
        else:
            self.sources[source] = value


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


def interval(entry: Any) -> str:
    """A metric with its 95 % interval; a plain number as it is."""
    if not isinstance(entry, dict):
        return show(entry)
    if entry.get("value") is None:
        return "–"
    if entry.get("low") is None or entry.get("high") is None:
        return show(entry["value"])
    return f"{show(entry['value'])} ({show(entry['low'])} – {show(entry['high'])})"


def cell(value: Any) -> str:
    """A text that cannot break out of a Markdown table or become markup."""
    text = " ".join(str(value).split()).replace("\\", "\\\\")
    return re.sub(r"([|<>`*_\[\]])", r"\\\1", text)
