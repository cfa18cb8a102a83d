"""The hash chain of a ledger: every line as the writer wrote it, each following from the one before.

What is found, and how: a changed byte by the line's own hash or its canonical form; a line that was taken out, put in
or moved by the next one's `previous` and `index`; lines cut from the end by the head file beside the ledger, which
holds the number of entries and the last hash. Who can write both files can also make up a whole new chain: that is
found by the other side's ledger alone, see `reconcile`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from foundation.federation.ledger.entry import GENESIS, Entry

Finding = Literal["altered", "order", "truncated", "unfinished", "contradiction", "lost", "unchecked"]


@dataclass(frozen=True)
class Problem:
    """Something wrong with a ledger, or between two.

    Attributes:
        kind: `lost` and `unchecked` are no sign of tampering; everything else is, or may be.
        ledger: which.
        text: one line.
        index: of the entry that is wrong, counted from 0; None if it is no single one.
    """

    kind: Finding
    ledger: str
    text: str
    index: int | None = None

    @property
    def grave(self) -> bool:
        """Whether the ledger cannot be relied on."""
        return self.kind not in ("lost", "unchecked")

    def __str__(self) -> str:
        place = "" if self.index is None else f" entry {self.index}:"
        return f"{self.ledger}:{place} {self.text}"


class Head(BaseModel):
    """The head file: how many entries there are at least, and the hash of the last of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entries: int
    hash: str

    def line(self) -> bytes:
        """As it stands in the file."""
        return json.dumps(self.model_dump(), sort_keys=True).encode() + b"\n"


@dataclass
class Chain:
    """A ledger's content, read.

    Attributes:
        entries: those that can be read, in their order.
        problems: all that is wrong.
        size: bytes up to the end of the last whole line.
        tail: bytes after it, of an entry that was not finished.
        behind: entries that the head file does not know yet: one after a crash between two writes.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    size: int = 0
    tail: bytes = b""
    behind: int = 0


def head_path(path: Path) -> Path:
    """Of the head file that goes with a ledger."""
    return path.with_name(f"{path.name}.head")


def read_chain(path: Path, content: bytes, head: bytes | None) -> Chain:
    """Reads and checks a whole ledger.

    Args:
        path: named in problems.
        content: of the file.
        head: of the head file; None if there is none.
    """
    chain = Chain()
    *lines, chain.tail = content.split(b"\n")
    chain.size = len(content) - len(chain.tail)
    expected, previous = 0, GENESIS
    for number, line in enumerate(lines):
        entry = _read_line(path, number, line, chain.problems)
        if entry is None:
            expected, previous = expected + 1, ""  # its hash is not known, so the next is not held against it
            continue
        _follow(path, chain.problems, entry, number, expected, previous)
        chain.entries.append(entry)
        expected, previous = entry.index + 1, entry.hash
    if chain.tail:
        text = f"the last line is unfinished ({len(chain.tail)} bytes); the owner's next entry notes and removes it"
        chain.problems.append(Problem("unfinished", str(path), text, len(lines)))
    chain.problems += _against_head(path, chain, len(lines), head)
    return chain


def _follow(path: Path, problems: list[Problem], entry: Entry, number: int, expected: int, previous: str) -> None:
    """Checks an entry's place after the line before, whose hash is empty if it could not be read."""
    if entry.index != expected:
        text = f"is numbered {entry.index} where {expected} is due: lines were removed, put in or moved"
        problems.append(Problem("order", str(path), text, number))
    elif previous and entry.previous != previous:
        text = "does not follow from the entry before it: that one was altered, or lines were exchanged"
        problems.append(Problem("order", str(path), text, number))
    if (entry.kind == "opened") != (number == 0):
        problems.append(Problem("order", str(path), "a ledger is opened by its first entry, and by no other", number))


def _read_line(path: Path, number: int, line: bytes, problems: list[Problem]) -> Entry | None:
    try:
        entry = Entry.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "line"
        problems.append(Problem("altered", str(path), f"cannot be read ({where}: {first['msg']})", number))
        return None
    if entry.line() != line:
        problems.append(Problem("altered", str(path), "is not written as a ledger writes it: it was altered", number))
    elif entry.hash != entry.expected_hash():
        problems.append(Problem("altered", str(path), "its content and its hash disagree: it was altered", number))
    return entry


def _against_head(path: Path, chain: Chain, lines: int, content: bytes | None) -> list[Problem]:
    name = head_path(path).name
    if content is None:
        chain.behind = lines
        if lines < 2:  # a crash before the first head was written
            return []
        text = f"{name} is missing, without which entries cut from the end are not seen; keep the two together"
        return [Problem("truncated", str(path), text)]
    head = read_head(content)
    if head is None:
        return [Problem("altered", str(path), f"{name} is not what a ledger wrote: it was altered")]
    if head.entries > lines:
        text = f"holds {lines} entries, but {name} counted {head.entries}: entries were cut from the end"
        return [Problem("truncated", str(path), text)]
    chain.behind = lines - head.entries
    at_head = [entry.hash for entry in chain.entries if entry.index == head.entries - 1]
    if not chain.problems and at_head != [head.hash]:
        return [Problem("altered", str(path), f"{name} holds another hash: the entries were replaced, or it was")]
    return []


def read_head(content: bytes) -> Head | None:
    """The head file's content; None if it is not one."""
    try:
        head = Head.model_validate_json(content)
    except ValidationError:
        return None
    return head if head.line() == content and head.entries > 0 else None


def as_json(problem: Problem) -> dict[str, Any]:
    """Plain values."""
    return {"kind": problem.kind, "ledger": problem.ledger, "found": problem.text, "index": problem.index}
