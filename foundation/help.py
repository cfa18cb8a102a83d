"""The page of `--help`: what a command does, its groups and settings, with the comments that its config files have."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_WIDTH, _COLUMN = 118, 42  # characters of a line, and before the comments
_REQUIRED = "required: "  # how the comment of a setting begins that must be given, and is not `???`
_KEY = re.compile(r"(?P<indent> *(?:- )?)(?P<key>[\w@.]+):")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_NOTES = (
    "The options of groups have settings of their own, changed likewise: --cfg job prints them all. What the class of "
    "a _target_ takes beyond them is added with +; ~ removes. With -m, commas make a run each: seed=0,1,2."
)


@dataclass(frozen=True)
class Comments:
    """What the files of a primary config say of its parts, in their order.

    Attributes:
        top: at the head of the primary config.
        groups: comment by group, as an override names it.
        settings: comment by setting, its keys joined with dots.
    """

    top: str
    groups: dict[str, str]
    settings: dict[str, str]

    @classmethod
    def read(cls, folder: Path, name: str) -> "Comments":
        """Of a primary config, then of the configs outside groups that it begins with."""
        text = (folder / f"{name}.yaml").read_text()
        top = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
        groups: dict[str, str] = {}
        settings: dict[str, str] = {}
        for path, comment in _keys(text):
            if path[0] == "defaults":
                groups |= {path[1]: comment} if len(path) > 1 else {}
            elif path[0] != "hydra" and not path[-1].startswith("_"):
                settings[".".join(path)] = comment
        for entry in yaml.safe_load(text).get("defaults", []):
            if isinstance(entry, str) and entry != "_self_":
                other = cls.read(folder, entry)
                for mine, theirs in ((groups, other.groups), (settings, other.settings)):
                    mine.update({key: mine.get(key) or comment for key, comment in theirs.items()})
        return cls(top, groups, settings)


def page(folder: Path, name: str, usage: Sequence[str], text: str, config: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        folder: of the configs.
        name: of the primary config.
        usage: the ways to type the command.
        text: what it does.
        config: as composed, with Hydra's part; interpolations as they are written.
    """
    comments = Comments.read(folder, name)
    settings = [(key, _value(config, key), comment) for key, comment in comments.settings.items()]
    required = [row for row in settings if row[1] == "???" or row[2].startswith(_REQUIRED)]
    others = [row for row in settings if row not in required and (row[2] or not row[1] or not isinstance(row[1], dict))]
    lines = [f"{'   or:' if at else 'usage:'} {typed} [setting=value ...]" for at, typed in enumerate(usage)]
    lines += ["", *(textwrap.fill(paragraph, _WIDTH) for paragraph in (text, comments.top) if paragraph)]
    lines += _section("Required", (_row(key, value, text.removeprefix(_REQUIRED)) for key, value, text in required))
    lines += _section("Groups (another option swaps the whole part)", _group_rows(folder, comments.groups, config))
    lines += _section("Settings", (_row(*row) for row in others))
    return "\n".join([*lines, *(["", textwrap.fill(_NOTES, _WIDTH)] if comments.groups else [])])


def _keys(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each key of a YAML file with those above it, and the comment on its line."""
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = _KEY.match(line)
        if match is None:
            continue
        indent = len(match["indent"])
        above = [*((column, key) for column, key in above if column < indent), (indent, match["key"])]
        bare = _QUOTED.sub(lambda quoted: "_" * len(quoted[0]), line)
        comment = line[bare.index(" #") + 2 :].strip() if " #" in bare else ""
        yield tuple(key for _, key in above), comment


def _value(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def _group_rows(folder: Path, groups: Mapping[str, str], config: Mapping[str, Any]) -> Iterator[str]:
    listed = set()
    for key, comment in groups.items():
        group = key.partition("@")[0]
        options = ", ".join(sorted(path.stem for path in (folder / group).glob("*.yaml")))
        texts = [comment, "" if group in listed else options]
        listed.add(group)
        yield _row(key, config["hydra"]["runtime"]["choices"][key], ": ".join(filter(None, texts)))


def _row(key: str, value: Any, comment: str) -> str:
    """`key=value`, and the comment beside it, or below where there is no room."""
    setting = f"  {key}:" if isinstance(value, dict) and value else f"  {key}={_as_typed(value)}"
    lines = textwrap.wrap(comment, _WIDTH - _COLUMN, break_on_hyphens=False)
    if len(setting) > _COLUMN - 2 or not lines:
        return "\n".join([setting, *(" " * _COLUMN + line for line in lines)])
    return f"{setting:{_COLUMN}}" + ("\n" + " " * _COLUMN).join(lines)


def _as_typed(value: Any) -> str:
    """A value as an override would give it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{','.join(_as_typed(item) for item in value)}]"
    return json.dumps(value)


def _section(title: str, rows: Iterator[str]) -> list[str]:
    lines = list(rows)
    return ["", title, *lines] if lines else []
