"""The two files of a ledger: taken by one process at a time, read whole, written through."""

import fcntl
import os
from pathlib import Path

from foundation.errors import UserError
from foundation.federation.ledger.chain import Chain, Head, Problem, head_path, read_chain
from foundation.files import SECRET, replacing
from foundation.polling import wait_until

MODE = SECRET
_PATIENCE = 60.0  # seconds for another process to finish its entry


def verify(path: Path) -> list[Problem]:
    """All that is wrong with a ledger by itself; see `chain` for what is found and how.

    Raises:
        UserError: if there is none.
    """
    return load(path).problems


def load(path: Path) -> Chain:
    """A ledger as it stands, only read; waits for an entry that is being written.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a ledger") from error
    try:
        lock(file, path, fcntl.LOCK_SH)
        return read(path, file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a ledger") from error
    finally:
        os.close(file)


def read(path: Path, file: int) -> Chain:
    with open(file, "rb", closefd=False) as stream:
        stream.seek(0)
        content = stream.read()
    head = head_path(path)
    return read_chain(path, content, head.read_bytes() if head.exists() else None)


def write_head(path: Path, head: Head) -> None:
    """Replaces a ledger's head file."""
    with replacing(head_path(path), MODE) as temporary, temporary.open("wb") as file:
        write(file.fileno(), head.line())


def lock(file: int, path: Path, kind: int = fcntl.LOCK_EX) -> None:
    """Takes the lock; closing the file gives it back, and so does the end of a process that is killed."""

    def taken() -> bool:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    if not wait_until(taken, every=0.002, seconds=_PATIENCE):
        raise UserError(f"{path}: another process has held it for {_PATIENCE:g} s; end that process")


def write(file: int, content: bytes) -> None:
    """All of it, on the disk."""
    while content:
        content = content[os.write(file, content) :]
    os.fsync(file)


def sync_folder(folder: Path) -> None:
    """Puts a new file's name on the disk, too."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
