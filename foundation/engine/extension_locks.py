"""Locks that killed builds of PyTorch's and DeepSpeed's extensions left: every later run waits for them, in silence.

`torch.utils.file_baton.FileBaton` keeps its lock file open while it builds, writes nothing into it, and removes it at
the end. So a lock that no process has open was left by one that was killed.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from torch.utils.cpp_extension import get_default_build_root

from foundation.errors import UserError

# File systems on which another machine may have the lock open; of `fuse.`, whatever follows.
_SHARED = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.", "9p")
_SECONDS = 1.0  # between two looks


@contextmanager
def watched_locks(folder: Path | None = None) -> Iterator[None]:
    """Clears dead locks before what is inside builds extensions, and those whose builder is killed meanwhile.

    Args:
        folder: see `clear_dead_locks`.
    """
    clear_dead_locks(folder)
    ends = threading.Event()

    def watch() -> None:
        while not ends.wait(_SECONDS):
            try:
                clear_dead_locks(folder, says_waiting=False)
            except UserError as error:  # a thread ends no run: whoever waits reads what for
                print(f"warning: {error}", file=sys.stderr)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def clear_dead_locks(folder: Path | None = None, says_waiting: bool = True) -> None:
    """Removes each lock whose process is dead, and names those that are waited for, on standard error.

    Args:
        folder: of the extensions; PyTorch's (`TORCH_EXTENSIONS_DIR`) if None.
        says_waiting: whether to name the living, too.

    Raises:
        UserError: if another machine or user may be building.
    """
    folder = folder or Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    for lock in sorted(folder.glob("**/lock")):
        before = _identity(lock)
        builder = next(_openers(lock), None)
        if builder is not None:
            if says_waiting:
                print(f"{lock}: waiting for process {builder}, which builds this extension", file=sys.stderr)
            continue
        if before is None or _identity(lock) != before:
            continue  # released while it was looked at, and perhaps taken by another
        if _file_system(lock).startswith(_SHARED) or os.getuid() not in (0, before[0]):
            raise UserError(
                f"{lock}: this extension is being built, by no process that can be seen here; another machine or user "
                "may do so: if none does, remove the file, or set TORCH_EXTENSIONS_DIR to a folder of your own"
            )
        lock.unlink(missing_ok=True)
        print(f"{lock}: left by a build that was killed; removed", file=sys.stderr)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Owner, and what tells a file from another in its place; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_uid, status.st_ino, status.st_ctime_ns


def _openers(path: Path) -> Iterator[int]:
    """Processes of this machine that have a file open; those of other users cannot be looked into."""
    target = path.resolve()
    for process in psutil.process_iter():
        try:
            if any(Path(file.path) == target for file in process.open_files()):
                yield process.pid
        except (psutil.AccessDenied, psutil.NoSuchProcess, FileNotFoundError):
            continue


def _file_system(path: Path) -> str:
    """Type of the file system that a path lies on, such as `ext4`."""
    parents = {str(parent) for parent in path.resolve().parents}
    mounts = [part for part in psutil.disk_partitions(all=True) if part.mountpoint in parents]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else ""
