"""Locks that killed builds of PyTorch's and DeepSpeed's extensions left: every later run waits for them, in silence.

`torch.utils.file_baton.FileBaton` keeps its lock file open while it builds, writes nothing into it, and removes it at
the end. So a lock that no process has open was left by one that was killed.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
from torch.utils.cpp_extension import get_default_build_root

from foundation.errors import UserError

# File systems on which another machine may have the lock open; of `fuse.`, whatever follows.
_SHARED = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.", "9p")


def clear_dead_locks(folder: Path | None = None) -> None:
    """Removes each lock whose process is dead, and names those that are waited for, on standard error.

    Args:
        folder: of the extensions; PyTorch's (`TORCH_EXTENSIONS_DIR`) if None.

    Raises:
        UserError: if another machine or user may be building.
    """
    folder = folder or Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    for lock in sorted(folder.glob("**/lock")):
        builder = next(_openers(lock), None)
        if builder is not None:
            print(f"{lock}: waiting for process {builder}, which builds this extension", file=sys.stderr)
            continue
        if _file_system(lock).startswith(_SHARED) or os.getuid() not in (0, lock.stat().st_uid):
            raise UserError(
                f"{lock}: this extension is being built, by no process that can be seen here; another machine or user "
                "may do so: if none does, remove the file, or set TORCH_EXTENSIONS_DIR to a folder of your own"
            )
        lock.unlink(missing_ok=True)
        print(f"{lock}: left by a build that was killed; removed, and the extension is built anew", file=sys.stderr)


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
