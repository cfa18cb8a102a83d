"""The settings that a command reads, from its configs.

Any other is refused, whether it was added with `+` or not, and so is null for one that has to be given.
"""

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

from foundation.errors import UserError

_USERS = ("experiment", "control")  # groups that set what others name, and name nothing themselves
_TARGET = "_target_"

Tree = dict[str, Any]  # by key the tree below it, or None where whoever reads the value judges what is in it


def check_settings(content: Mapping[str, Any], config_name: str) -> None:
    """Refuses a setting that nothing reads, for a record would hold it as if it counted; also null for a required one.

    Read are the settings that the primary config names, or any option of its groups; whatever lies below one that they
    leave open (`{}` or null), for its reader judges it; and whatever lies in a node with a `_target_`, for its
    constructor judges it.

    Args:
        content: of the composed config.
        config_name: the primary config under `configs/`.

    Raises:
        UserError: naming the setting.
    """
    known = known_settings(config_name)
    for name in _required(config_name):
        if name in content and content[name] is None:
            raise UserError(f"{name}: found null, but {config_name} needs one (--help says which)")
    for path in _unread(content, known, ()):
        near = difflib.get_close_matches(path[-1], set(_names(known)) - {path[-1]}, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "drop it"
        raise UserError(f"{'.'.join(path)}: nothing reads this setting; {hint} (--help lists those of {config_name})")


def _required(config_name: str) -> list[str]:
    """Settings that the primary config leaves to who types the command."""
    content = yaml.safe_load((resources.files("configs") / f"{config_name}.yaml").read_text(encoding="utf-8"))
    return [name for name, value in content.items() if value == "???"]


def setting_names(config_name: str) -> set[str]:
    """Every key that a command's config names, or that any option of its groups does."""
    return set(_names(known_settings(config_name)))


@cache
def known_settings(config_name: str) -> Tree:
    """The tree of the keys that a command's config names, or that any option of its groups does."""
    tree: Tree = {}
    _add(tree, f"{config_name}.yaml", ())
    return tree


def _add(tree: Tree, file: str, package: tuple[str, ...]) -> None:
    """Adds what a config and the groups in its defaults name."""
    content = yaml.safe_load((resources.files("configs") / file).read_text(encoding="utf-8")) or {}
    folder = file.rpartition("/")[0]
    for entry in content.pop("defaults", []):
        if isinstance(entry, str):
            if entry != "_self_":
                _add(tree, f"{folder}/{entry}.yaml".lstrip("/"), package)
            continue
        group, _, place = str(next(iter(entry))).split()[-1].lstrip("/").partition("@")
        if group not in _USERS:
            for option in (resources.files("configs") / group).iterdir():
                if option.name.endswith(".yaml"):
                    _add(tree, f"{group}/{option.name}", tuple((place or group).split(".")))
    for key in package:
        tree = tree.setdefault(key, {})
    _merge(tree, content)


def _merge(tree: Tree, content: Mapping[Any, Any]) -> None:
    for key, value in content.items():
        name = str(key)
        if isinstance(value, dict) and value and tree.get(name, {}) is not None:
            _merge(tree.setdefault(name, {}), value)
        else:
            tree[name] = None


def _unread(node: Mapping[str, Any], known: Tree, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    built = all(below is not None and _TARGET in below for below in known.values())  # objectives, modalities
    for key, value in node.items():
        here = (*path, str(key))
        below = known.get(str(key))
        if str(key) not in known and not (built and isinstance(value, Mapping) and _TARGET in value):
            yield here
        elif isinstance(value, Mapping) and _TARGET not in value and below is not None:
            yield from _unread(value, below, here)


def _names(tree: Tree) -> Iterator[str]:
    for key, below in tree.items():
        yield key
        yield from _names(below or {})
