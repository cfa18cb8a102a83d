"""Edits of files in a folder, for tests of what is refused afterwards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Edit = Callable[[Path], None]


def cut(name: str) -> Edit:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9]) and None


def gone(name: str) -> Edit:
    return lambda folder: (folder / name).unlink()


def said(name: str, *keys: str, value: Any) -> Edit:
    """Another value in JSON."""

    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (folder / name).write_text(json.dumps(content))

    return edit


def dropped(name: str, key: str) -> Edit:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        del content[key]
        (folder / name).write_text(json.dumps(content))

    return edit
