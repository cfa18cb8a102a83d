"""What one process may do at a time; the lock goes with the process, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Waits until no other process holds a lock, then holds it.

    Args:
        path: of the file that is locked; made with its folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Holds a lock that no other process holds; whether it does.

    Args:
        path: see `in_turn`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
