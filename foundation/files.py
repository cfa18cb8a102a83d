"""Files that are written whole or not at all, and read with one line of error; nothing here needs torch or numpy."""

import ctypes
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundation.errors import UserError

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
SECRET, PUBLIC, PROGRAM = 0o600, 0o644, 0o755  # permissions: the owner's alone, anybody's to read, or to run


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place on leaving: a reader never sees half a file.

    Folders above it are made. Where writing fails, nothing of it is left.

    Args:
        path: of the file.
        mode: permissions, from its first byte on; as the process makes files if None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.unlink(missing_ok=True)
    try:
        if mode is not None:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield temporary
        if mode is not None:
            temporary.chmod(mode)  # past the process's umask, and where the writer made the file anew
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """The same for a folder: an empty one beside it, which takes its place on leaving."""
    temporary = unfinished(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if folder.is_dir():
            exchange(temporary, folder)
        else:
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def exchange(one: Path, other: Path) -> None:
    """Each of two files or folders under the name of the other, in one step where the system has one.

    Linux does (`renameat2` with `RENAME_EXCHANGE`, on most of its file systems): whoever reads sees the earlier or the
    later, and a process that is killed leaves one of both.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    aside = one.with_name(f"{one.name}.aside")
    other.replace(aside)
    one.replace(other)
    aside.replace(one)


def link(path: Path, to: Path) -> None:
    """The same file under another path: a hard link, or a copy where the disk is another."""
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)


def unfinished(folder: Path) -> Path:
    """Where a folder is written before it takes its place: what a killed process leaves behind."""
    return folder.with_name(f".{folder.name}.writing")


def write_bytes(path: Path, content: bytes, mode: int | None = None) -> None:
    """Writes a file; see `replacing`."""
    with replacing(path, mode) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str, mode: int | None = None) -> None:
    """Writes a text; see `replacing`."""
    write_bytes(path, text.encode(), mode)


def write_json(path: Path, content: Any, sort_keys: bool = True) -> None:
    """Writes JSON that people can read, and compare where its keys are sorted; see `replacing`."""
    write_text(path, json.dumps(content, indent=2, sort_keys=sort_keys, default=str) + "\n")


def read_json(path: Path, advice: str, *keys: str) -> dict[str, Any]:
    """A JSON object.

    Args:
        path: of the file.
        advice: what to do where it cannot be read, for the error.
        keys: that it must hold.

    Raises:
        UserError: if it is missing, damaged, no object or lacks a key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; {advice}") from error
    except (OSError, ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise UserError(f"{path}: not readable as JSON ({error}); {advice}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: found a {type(content).__name__}, not an object; {advice}")
    for key in keys:
        if key not in content:
            raise UserError(f"{path}: holds no '{key}'; {advice}")
    return content
