"""Lines of JSON that are only added to, each bound to the one before by its hash; the last is held by a head beside."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import write_json

GENESIS = "0" * 64
_AGAIN = "compare it with a copy kept elsewhere"


class ChainedEntry(dict[str, Any]):
    """One line. A field that it lacks, or that is of another form, is an error that names file, line and field.

    Args:
        content: of the line, which follows from the one before.
        path: of the file.
    """

    def __init__(self, content: Mapping[str, Any], path: Path) -> None:
        super().__init__(content)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise self.refuse(f"holds no '{name}'")

    def mapping(self, name: str) -> dict[str, Any]:
        """A field that is an object.

        Raises:
            UserError: if it is missing, or something else.
        """
        value = self[name]
        if not isinstance(value, dict):
            raise self.refuse(f"holds {value!r:.60} as '{name}', not an object")
        return value

    def refuse(self, finding: str) -> UserError:
        """The error for a line that is whole, and says something else than is read here."""
        place = f"{self._path}: line {self['index'] + 1}"
        return UserError(f"{place} {finding}; install the release that wrote it, or begin another folder")


class ChainedFile:
    """A file of such lines.

    Args:
        path: of the file; its head lies beside it.
        again: what to do where it was altered, for errors.
    """

    def __init__(self, path: Path, again: str = _AGAIN) -> None:
        self.path, self._again = path, again

    def entries(self) -> list[ChainedEntry]:
        """All of them, each held against the one before, the last against the head.

        Raises:
            UserError: naming the first line that does not follow, or the head where lines were cut from the end.
        """
        if not self.path.is_file():
            if head_path(self.path).is_file():
                raise UserError(f"{self.path}: missing, though {head_path(self.path).name} tells of it; {self._again}")
            return []
        entries = [ChainedEntry(entry, self.path) for entry in follow(self.path, self._again)]
        check_head(self.path, [GENESIS, *(entry["hash"] for entry in entries)], self._again)
        return entries

    def add(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Writes one, whole or not at all.

        Raises:
            UserError: if what lies there was altered.
        """
        entries = self.entries()
        drop_unfinished(self.path)
        previous = entries[-1]["hash"] if entries else GENESIS
        bound = {"index": len(entries), **entry, "previous": previous}
        sealed = {**bound, "hash": hash_of(bound)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            stream.write(line_of(sealed))
            stream.flush()
            os.fsync(stream.fileno())
        write_json(head_path(self.path), {"entries": len(entries) + 1, "hash": sealed["hash"]})
        return sealed


def follow(path: Path, again: str) -> Iterator[dict[str, Any]]:
    """The entries of a file; an unfinished last line is passed by.

    Raises:
        UserError: naming the first line that does not follow from the one before.
    """
    previous = GENESIS
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1]):
        entry = read_line(line)
        if entry is None or entry.get("index") != number or entry.get("previous") != previous:
            raise UserError(f"{path}: line {number + 1} does not follow from the one before; {again}")
        content = {key: value for key, value in entry.items() if key != "hash"}
        if hash_of(content) != entry.get("hash") or line_of(entry) != line + b"\n":
            raise UserError(f"{path}: line {number + 1} was altered; {again}")
        previous = entry["hash"]
        yield entry


def check_head(path: Path, hashes: list[str], again: str) -> None:
    """Refuses a file from whose end lines were cut, as its head tells, where there is one."""
    path_of_head = head_path(path)
    if not path_of_head.is_file():
        return
    head = read_line(path_of_head.read_bytes())
    if head is None or not isinstance(head.get("entries"), int):
        raise UserError(f"{path_of_head}: was altered; {again}")
    if not 0 <= head["entries"] < len(hashes) or hashes[head["entries"]] != head.get("hash"):
        raise UserError(f"{path}: lines were cut from its end, or exchanged; {again}")


def drop_unfinished(path: Path) -> None:
    """Cuts a line that a crash left without its end."""
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def head_path(path: Path) -> Path:
    """Of the head that goes with a file."""
    return path.with_name(f"{path.name}.head")


def read_line(line: bytes) -> dict[str, Any] | None:
    """A line's object; None where it is none."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def hash_of(entry: Mapping[str, Any]) -> str:
    """SHA-256 of an entry without its hash."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def line_of(entry: Mapping[str, Any]) -> bytes:
    """An entry as it stands in the file."""
    return json.dumps(entry, sort_keys=True).encode() + b"\n"
