"""The audit trail: who asked which version when, and what was answered, each line bound to the one before.

Nothing of a patient stands in it: bodies and request ids are HMACs under the server's own key (a plain digest of an age
and a sex could be tried out). Who holds body and key can show that it was asked.
"""

import hashlib
import hmac
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import SECRET, write_bytes, write_json

FILE, KEY = "audit.jsonl", "audit.key"
GENESIS = "0" * 64
_AGAIN = "compare it with a copy kept elsewhere; move it away to begin another"


class AuditTrail:
    """A file of lines that is only added to.

    Args:
        folder: where `audit.jsonl`, its head and its key lie.
        version: of the bundle that answers.

    Raises:
        UserError: if what lies there was altered.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self._path, self._version = folder / FILE, version
        key = folder / KEY
        self.entries, self._previous = verify(folder) if _is_begun(folder) else (0, GENESIS)
        if self.entries and not key.is_file():
            finding = f"missing, by which the digests of {FILE} were made"
            raise UserError(f"{key}: {finding}; put it back, or move {FILE} and its head away to begin another")
        _drop_unfinished(self._path)
        # Before the key, so that where a key lies there was a trail.
        self._stream = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, SECRET), "wb", buffering=0)
        if not key.is_file():
            write_bytes(key, secrets.token_bytes(32), mode=SECRET)
        self._key = key.read_bytes()

    def add(self, caller: str | None, request_id: str, body: bytes, status: int) -> None:
        """One request.

        Args:
            caller: by the token; None where it was nobody's.
            request_id: of the request.
            body: of HTTP, as far as it was read.
            status: of the reply.
        """
        entry = {
            "index": self.entries,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "caller": caller,
            "version": self._version,
            "request": self.mac(request_id.encode()),
            "input": self.mac(body),
            "status": int(status),
            "previous": self._previous,
        }
        digest = _hash(entry)
        self._write(_line({**entry, "hash": digest}))
        self._previous = digest
        self.entries += 1

    def _write(self, line: bytes) -> None:
        """Adds a line whole, or nothing of it: a full disk must not break the chain for when there is room again."""
        end = os.fstat(self._stream.fileno()).st_size
        try:
            while line:
                line = line[self._stream.write(line) :]
        except OSError:
            os.truncate(self._stream.fileno(), end)
            raise

    def mac(self, content: bytes) -> str:
        """What stands in the trail for a body, or for a request id."""
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()

    def save_head(self) -> None:
        """Writes how long the trail is and its last hash beside it, by which lines cut from its end are missed."""
        os.fsync(self._stream.fileno())
        write_json(_head_path(self._path), {"entries": self.entries, "hash": self._previous})

    def close(self) -> None:
        """Ends writing."""
        self.save_head()
        self._stream.close()


def verify(folder: Path) -> tuple[int, str]:
    """Number of lines and hash of the last, if every line follows from the one before.

    Raises:
        UserError: naming the first line that does not, or the head where lines were cut from the end.
    """
    path, previous = folder / FILE, GENESIS
    if not _is_begun(folder):
        raise UserError(f"{folder}: no {FILE}, so no audit trail was kept there; give output= of python -m serve")
    if not path.is_file():
        beside = " and ".join(other.name for other in _beside(folder))
        raise UserError(
            f"{path}: missing, though {beside} beside it tell of one; put it back, or move these away to begin another"
        )
    hashes = [GENESIS]
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1]):
        entry = _read(line)
        if entry is None or entry.get("index") != number or entry.get("previous") != previous:
            raise UserError(f"{path}: line {number + 1} does not follow from the one before; {_AGAIN}")
        previous = str(entry.pop("hash", ""))
        if _hash(entry) != previous or _line({**entry, "hash": previous}) != line + b"\n":
            raise UserError(f"{path}: line {number + 1} was altered; {_AGAIN}")
        hashes.append(previous)
    _check_head(path, hashes)
    return len(hashes) - 1, previous


def _is_begun(folder: Path) -> bool:
    """Whether there is a trail, or what one leaves where it is deleted."""
    return (folder / FILE).is_file() or bool(_beside(folder))


def _beside(folder: Path) -> list[Path]:
    return [path for path in (_head_path(folder / FILE), folder / KEY) if path.is_file()]


def _check_head(path: Path, hashes: list[str]) -> None:
    head_path = _head_path(path)
    if not head_path.is_file():
        return
    head = _read(head_path.read_bytes())
    if head is None or not isinstance(head.get("entries"), int):
        raise UserError(f"{head_path}: was altered; {_AGAIN}")
    if not 0 <= head["entries"] < len(hashes) or hashes[head["entries"]] != head.get("hash"):
        raise UserError(f"{path}: lines were cut from its end, or exchanged; {_AGAIN}")


def _drop_unfinished(path: Path) -> None:
    """Cuts a line that a crash left without its end."""
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _head_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _hash(entry: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True).encode() + b"\n"
