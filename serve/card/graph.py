"""The evidence graph: every statement of a card as a node, with the file and field that it was read from."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from serve.card.wording import interval, spell

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Source:
    """Where a statement stands.

    Attributes:
        file: its path from the card's folder.
        keys: keys and indices down to it; none for the file as a whole.
        digest: SHA-256 of the file's bytes.
    """

    file: str
    keys: tuple[str | int, ...]
    digest: str

    def __str__(self) -> str:
        return "#".join(filter(None, [self.file, "/".join(map(str, self.keys))]))


@dataclass(frozen=True)
class Node:
    """One statement.

    Attributes:
        id: tells it from all others of the card.
        value: as the source has it.
        text: as every document prints it.
        sources: of the value first, then of what stands beside it.
        rule: how the value comes from its sources, where it does not stand there itself.
        unit: of the value.
        low, high: ends of its interval.
        interval: what that interval is.
        n: patients that it rests on.
        split: whose.
        estimator: that made it.
        reason: why there is no value.
        style: how `text` spells the value.
    """

    id: str
    value: Scalar
    text: str
    sources: tuple[Source, ...]
    rule: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    interval: str = ""
    n: int | None = None
    split: str = ""
    estimator: str = ""
    reason: str = ""
    style: str = ""


@dataclass(frozen=True)
class File:
    """A file of a run.

    Attributes:
        path: where it lies.
        name: its path from the card's folder.
        digest: SHA-256 of its bytes.
        content: what it holds, parsed; None where it is no JSON.
    """

    path: Path
    name: str
    digest: str
    content: Any

    def at(self, *keys: str | int, default: Any = None) -> Any:
        """What lies under keys and indices."""
        return look_up(self.content, keys, default)

    def source(self, *keys: str | int) -> Source:
        """The place of what lies under keys."""
        return Source(self.name, keys, self.digest)


def read_once(path: Path) -> tuple[str, Any]:
    """SHA-256 of a JSON file, and what the same bytes hold.

    Raises:
        UserError: if it is missing or no JSON.
    """
    try:
        raw = path.read_bytes()
        return hashlib.sha256(raw).hexdigest(), json.loads(raw)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; run the step that writes it again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); run the step that writes it again") from error


def look_up(content: Any, keys: Sequence[str | int], default: Any = None) -> Any:
    """What lies under keys and indices of parsed JSON."""
    value = content
    for key in keys:
        within = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if key not in within:
            return default
        value = value[key]
    return value


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Graph:
    """What a card may say.

    Args:
        root: the card's folder, from which files are named.
    """

    root: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    files: dict[Path, File] = field(default_factory=dict)

    def read(self, path: Path) -> File:
        """A JSON file of a run, read once.

        Raises:
            UserError: if it is missing or no JSON.
        """
        path = path.resolve()
        if path not in self.files:
            digest, content = read_once(path)
            self.files[path] = File(path, os.path.relpath(path, self.root), digest, content)
        return self.files[path]

    def add(self, path: Path, content: Any) -> File:
        """A file that is no JSON, with what it holds."""
        path = path.resolve()
        self.files[path] = File(path, os.path.relpath(path, self.root), sha256(path), content)
        return self.files[path]

    def value(self, name: str, file: File, *keys: str | int, style: str = "", unit: str = "") -> Node:
        """What stands under keys of a file; a value that is no scalar is a mistake of the caller."""
        value = file.at(*keys)
        assert value is None or isinstance(value, str | int | float | bool), keys
        return self._add(Node(name, value, spell(value, style), (file.source(*keys),), unit=unit, style=style))

    def key(self, name: str, file: File, *keys: str | int) -> Node:
        """A name that is itself the last key: of a hospital, a modality, a metric."""
        assert file.at(*keys[:-1]) is not None, keys
        return self._add(Node(name, str(keys[-1]), str(keys[-1]), (file.source(*keys),), rule="the key itself"))

    def label(self, name: str, words: str, file: File, *keys: str | int) -> "str | Node":
        """A key in words; a node where they hold a number, for documents print those of nodes alone."""
        if not any(letter.isdigit() for letter in words):
            return words
        return self.derived(name, words, "the key in words", [file.source(*keys)])

    def derived(
        self, name: str, value: Scalar, rule: str, sources: Sequence[Source], style: str = "", unit: str = ""
    ) -> Node:
        """What is reckoned from several places, by a rule told in words."""
        text = spell(value, style)
        return self._add(Node(name, value, text, tuple(sources), rule=rule, unit=unit, style=style))

    def figure(
        self, name: str, file: File, keys: Sequence[str | int], beside: Sequence[Source] = (), **facts: Any
    ) -> Node:
        """A measured figure: an object under keys that holds `value`, and mostly `low` and `high`.

        Args:
            name: the node's id.
            file: that holds it.
            keys: down to the object.
            beside: where the further facts stand.
            facts: further attributes of the node.
        """
        entry = file.at(*keys)
        ends = {key: entry.get(key) for key in ("low", "high")}
        for key in ("n", "estimator", "interval", "reason"):
            if entry.get(key) is not None:
                facts.setdefault(key, entry[key])
        text = interval(entry["value"], **ends, style=str(facts.get("style", "")))
        return self._add(Node(name, entry["value"], text, (file.source(*keys), *beside), **ends, **facts))

    def _add(self, node: Node) -> Node:
        before = self.nodes.setdefault(node.id, node)
        assert before == node, f"two statements are called {node.id}"
        return node
