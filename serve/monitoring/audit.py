"""The audit trail: who asked which version when, and what was answered, each line bound to the one before.

Nothing of a patient stands in it: bodies and request ids are HMACs under the server's own key (a plain digest of an age
and a sex could be tried out). Who holds body and key can show that it was asked.
"""

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

from foundation.chained_file import GENESIS, check_head, drop_unfinished, follow, hash_of, head_path, line_of
from foundation.errors import UserError
from foundation.files import SECRET, write_bytes, write_json

FILE, KEY = "audit.jsonl", "audit.key"
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
        self._path, self.version = folder / FILE, version
        key = folder / KEY
        self.entries, self._previous = verify(folder) if _is_begun(folder) else (0, GENESIS)
        if self.entries and not key.is_file():
            finding = f"missing, by which the digests of {FILE} were made"
            raise UserError(f"{key}: {finding}; put it back, or move {FILE} and its head away to begin another")
        drop_unfinished(self._path)
        # Before the key, so that where a key lies there was a trail.
        self._stream = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, SECRET), "wb", buffering=0)
        if not key.is_file():
            write_bytes(key, secrets.token_bytes(32), mode=SECRET)
        self._key = key.read_bytes()

    def add(self, caller: str | None, request_id: str, body: bytes, status: int, version: str | None = None) -> None:
        """One request.

        Args:
            caller: by the token; None where it was nobody's.
            request_id: of the request.
            body: of HTTP, as far as it was read.
            status: of the reply.
            version: of the bundle that answered; the one in use if None.
        """
        entry = {
            "index": self.entries,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "caller": caller,
            "version": version or self.version,
            "request": self.mac(request_id.encode()),
            "input": self.mac(body),
            "status": int(status),
            "previous": self._previous,
        }
        digest = hash_of(entry)
        self._write(line_of({**entry, "hash": digest}))
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
        write_json(head_path(self._path), {"entries": self.entries, "hash": self._previous})

    def close(self) -> None:
        """Ends writing."""
        self.save_head()
        self._stream.close()


def verify(folder: Path) -> tuple[int, str]:
    """Number of lines and hash of the last, if every line follows from the one before.

    Raises:
        UserError: naming the first line that does not, or the head where lines were cut from the end.
    """
    path = folder / FILE
    if not _is_begun(folder):
        raise UserError(f"{folder}: no {FILE}, so no audit trail was kept there; give output= of python -m serve")
    if not path.is_file():
        beside = " and ".join(other.name for other in _beside(folder))
        raise UserError(
            f"{path}: missing, though {beside} beside it tell of one; put it back, or move these away to begin another"
        )
    hashes = [GENESIS, *(str(entry["hash"]) for entry in follow(path, _AGAIN))]
    check_head(path, hashes, _AGAIN)
    return len(hashes) - 1, hashes[-1]


def _is_begun(folder: Path) -> bool:
    """Whether there is a trail, or what one leaves where it is deleted."""
    return (folder / FILE).is_file() or bool(_beside(folder))


def _beside(folder: Path) -> list[Path]:
    return [path for path in (head_path(folder / FILE), folder / KEY) if path.is_file()]
