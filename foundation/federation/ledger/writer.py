"""The writer of a ledger: whole lines, on the disk before anything else happens, by one process at a time."""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

from pydantic import ValidationError

from foundation.errors import UserError
from foundation.federation.ledger.chain import Chain, Head
from foundation.federation.ledger.entry import GENESIS, Direction, Entry, Kind, Role
from foundation.federation.ledger.files import MODE, lock, read, sync_folder, write, write_head


class Facts(TypedDict, total=False):
    """What an entry may say; see `Entry`."""

    run: str
    round: int | None
    peer: str
    message: str
    groups: Sequence[str]
    size: int
    digest: str
    masked: bool
    norms: Mapping[str, float]
    samples: Mapping[str, int]
    metrics: Mapping[str, float]
    epsilon: float | None
    delta: float | None
    policy: str
    plan: str
    standing: str
    steps: int | None
    split: str
    query: str
    witness: str
    note: str


class UnfitError(UserError):
    """A fact that a ledger does not hold; where it came in a message, the message is at fault and not the ledger."""


class Ledger:
    """A ledger that is written to; made by `open`.

    An entry is on the disk when `append` returns, so write it before the message goes out. Nothing stays open between
    two entries: several processes, and forks of one, take turns by a lock on the file.

    Args:
        path: of the file.
        owner: whose ledger.
        role: site or server.
    """

    def __init__(self, path: Path, owner: str, role: Role) -> None:
        self.path = path
        self.owner = owner
        self.role = role
        self._entries: list[Entry] = []
        self._size = -1

    @classmethod
    def open(cls, path: Path, owner: str, role: Role = "site") -> "Ledger":
        """Opens a ledger, or begins one; what a crash left behind is mended, and an entry says so.

        Raises:
            UserError: if it was altered, is another's, or cannot be written.
        """
        ledger = cls(Path(path), owner, role)
        ledger.path.parent.mkdir(parents=True, exist_ok=True)
        with ledger._locked() as file:
            ledger._refresh(file)
        return ledger

    @property
    def head(self) -> str:
        """Hash of the latest entry that this object knows: name it to the other side, which keeps it as a witness."""
        return self._entries[-1].hash

    @property
    def length(self) -> int:
        """Entries that this object knows."""
        return len(self._entries)

    def append(self, kind: Kind, direction: Direction | None = None, **facts: Unpack[Facts]) -> Entry:
        """Writes one entry.

        Raises:
            UnfitError: if a fact is none that a ledger holds.
            UserError: if the entry cannot be written; it then holds nothing of it, and the message must not go out.
        """
        with self._locked() as file:
            self._refresh(file)
            return self._put(file, kind, direction, **facts)

    def entries(self) -> list[Entry]:
        """All entries, those of other processes included."""
        with self._locked() as file:
            self._refresh(file)
        return list(self._entries)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, while no other process or thread has it.

        Raises:
            UserError: if it cannot be opened, or stays taken.
        """
        try:
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be opened ({error.strerror}); a ledger must be writable") from error
        try:
            self._close_to_others(file)
            lock(file, self.path)
            yield file
        finally:
            os.close(file)

    def _close_to_others(self, file: int) -> None:
        if os.fstat(file).st_mode & 0o777 != MODE:
            try:
                os.fchmod(file, MODE)
            except OSError as error:
                raise UserError(
                    f"{self.path}: others may read it, and its mode cannot be changed; give it to this user, mode 0600"
                ) from error

    def _refresh(self, file: int) -> None:
        """Reads what others have written, mends what a crash left, and begins an empty ledger."""
        size = os.fstat(file).st_size
        if size == self._size:
            return
        chain = read(self.path, file)
        grave = [problem for problem in chain.problems if problem.kind != "unfinished"]
        if grave:
            raise UserError(
                f"{grave[0]}; nothing is sent or received on a damaged ledger: restore it from a copy, or set it aside"
                f" with its head file, say so to the federation, and begin another"
            )
        if chain.tail:
            os.ftruncate(file, chain.size)
        self._entries, self._size = chain.entries, chain.size
        if not self._entries:
            self._put(file, "opened", owner=self.owner, role=self.role)
            sync_folder(self.path.parent)
        self._check_owner()
        for note in _repairs(chain):
            self._put(file, "recovered", note=note)

    def _check_owner(self) -> None:
        first = self._entries[0]
        if (first.owner, first.role) != (self.owner, self.role):
            raise UserError(
                f"{self.path}: is the ledger of {first.role} {first.owner}, not of {self.role} {self.owner};"
                f" give each its own file"
            )

    def _put(self, file: int, kind: Kind, direction: Direction | None = None, **facts: Any) -> Entry:
        entry = self._made(kind, direction, facts)
        try:
            write(file, entry.line() + b"\n")
            write_head(self.path, Head(entries=entry.index + 1, hash=entry.hash))
        except OSError as error:
            with suppress(OSError):  # what is left then is an unfinished line, which the next entry mends
                os.ftruncate(file, self._size)
            raise UserError(f"{self.path}: entry not written ({error.strerror}); make room, then try again") from error
        self._entries.append(entry)
        self._size += len(entry.line()) + 1
        return entry

    def _made(self, kind: Kind, direction: Direction | None, facts: dict[str, Any]) -> Entry:
        content = {
            **facts,
            **{name: _finite(facts.get(name, {})) for name in ("norms", "metrics")},
            "index": len(self._entries),
            "previous": self._entries[-1].hash if self._entries else GENESIS,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "kind": kind,
            "direction": direction,
        }
        try:
            return Entry.model_validate(content).sealed()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where, value = ".".join(map(str, first["loc"])), repr(first["input"])[:60]
            raise UnfitError(f"{self.path}: {where}: {first['msg']}, found {value}; a ledger holds no such") from error


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """What is no number in JSON becomes None."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _repairs(chain: Chain) -> list[str]:
    """What a crash left behind, as notes."""
    notes = []
    if chain.tail:
        digest = hashlib.sha256(chain.tail).hexdigest()
        notes.append(f"removed an unfinished line of {len(chain.tail)} bytes left by a crash (SHA-256 {digest})")
    if chain.behind:
        notes.append(f"the head file had not counted the last {chain.behind} entries, as after a crash")
    return notes
