"""`manifest.json`: the origin of every file of a public cohort, and its digest.

Every file that comes in gets a line in `.manifest.jsonl`, so that what was received before a kill, or for a larger
selection, is known afterwards; `manifest.json` lists those of the cohort once it is whole.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundation.data.problems import refuse
from foundation.files import write_json
from foundation.locks import alone

FILE = "manifest.json"
JOURNAL = ".manifest.jsonl"
_INSIDE = r"^(slides|radiology|downloads)(/[^/.][^/]*)+$"
_ADVICE = "move it away; files already received are checked by the portal's MD5 or received again"


class Entry(BaseModel):
    """One file, one answer of a portal, or one folder of images.

    Args:
        path: in the cohort's folder.
        kind: what it is.
        portal: `gdc`, `cbioportal` or `tcia`.
        url: asked for it.
        id: by which the portal knows it.
        patient: whose it is; empty where it is of several.
        bytes: of the file; of all files of a folder.
        md5: as the portal gives it; empty where it gives none.
        sha256: of the file's bytes; of a folder, see `digest_folder`.
        received: when, UTC.
    """

    model_config = ConfigDict(extra="forbid")

    path: str = Field(pattern=_INSIDE)
    kind: str
    portal: str
    url: str
    id: str
    patient: str = ""
    bytes: int
    md5: str = ""
    sha256: str
    received: str = ""


class Manifest:
    """The files received so far; see `open`.

    Args:
        folder: of the cohort.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self.used: set[str] = set()
        self._lock = threading.Lock()
        for path in (folder / FILE, folder / JOURNAL):
            if path.is_file():
                self.entries |= {entry.path: entry for entry in _read(path)}

    @classmethod
    @contextmanager
    def open(cls, folder: Path, project: str) -> Iterator["Manifest"]:
        """The manifest of a folder that no other process is filling.

        Raises:
            DataError: if another process is, the folder holds another cohort, or the manifest is damaged.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise refuse(folder, str(error.strerror or error), "give another output") from error
        foreign = [name for name in ("cohort.yaml", "patients.csv") if (folder / name).exists()]
        if foreign and not any((folder / name).exists() for name in (FILE, JOURNAL)):
            raise refuse(folder / foreign[0], "not written by this command", "give an output folder of its own")
        with alone(folder / ".lock") as mine:
            if not mine:
                raise refuse(folder, "another process is filling it", "wait for it, or give another output")
            noted = _content(folder / FILE).get("project", project)
            if noted != project:
                raise refuse(folder / FILE, "another project's", "give an output of its own", "project", value=noted)
            yield cls(folder)

    def add(self, entry: Entry) -> None:
        """Notes what is about to get its final name; on disk when this returns."""
        entry = entry.model_copy(update={"received": datetime.now(UTC).isoformat(timespec="seconds")})
        with self._lock:
            with (self.folder / JOURNAL).open("ab") as journal:
                # A line of its own even after one that a kill cut off.
                journal.write(b"\n" + entry.model_dump_json().encode() + b"\n")
                journal.flush()
                os.fsync(journal.fileno())
            self.entries[entry.path] = entry
            self.used.add(entry.path)

    def holds(self, path: str, md5: str = "") -> bool:
        """Whether what lies there is what was received, by digest; noted as used if so.

        Args:
            path: in the cohort's folder, a file or a folder.
            md5: as the portal gives it now; a file of another is not the one that is wanted.
        """
        entry, place = self.entries.get(path), self.folder / path
        if entry is None or (md5 and entry.md5 != md5) or not place.exists():
            return False
        digest = digest_folder(place) if place.is_dir() else digest_file(place)
        if digest != (entry.bytes, entry.sha256):
            return False
        with self._lock:
            self.used.add(path)
        return True

    def drop(self, path: str) -> None:
        """Removes a file that is not part of the cohort."""
        with self._lock:
            self.used.discard(path)
        (self.folder / path).unlink(missing_ok=True)

    def write(self, about: dict[str, Any]) -> str:
        """Writes `manifest.json`, of the files that this cohort is made of.

        Args:
            about: project, settings and the portals' releases.

        Returns:
            SHA-256 of what was written, times left out.
        """
        files = [self.entries[path].model_dump() for path in sorted(self.used)]
        write_json(self.folder / FILE, {**about, "files": files})
        timeless = [{key: value for key, value in entry.items() if key != "received"} for entry in files]
        return hashlib.sha256(json.dumps({**about, "files": timeless}, sort_keys=True).encode()).hexdigest()


def digest_file(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest


def digest_folder(path: Path) -> tuple[int, str]:
    """Size of all files in bytes, and SHA-256 over a line `name sha256` a file, by name."""
    files = [(file.relative_to(path).as_posix(), *digest_file(file)) for file in path.rglob("*") if file.is_file()]
    lines = "".join(f"{name} {digest}\n" for name, _, digest in sorted(files))
    return sum(size for _, size, _ in files), hashlib.sha256(lines.encode()).hexdigest()


def _whole_lines(path: Path) -> Iterator[Any]:
    """The journal's lines but for those that a kill cut off, whose files have not got their names yet."""
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise refuse(path, f"damaged ({error})", _ADVICE) from error
    if not isinstance(content, dict):
        raise refuse(path, f"holds a {type(content).__name__}, no manifest", _ADVICE)
    return content


def _read(path: Path) -> list[Entry]:
    try:
        if path.name == JOURNAL:
            return [Entry.model_validate(line) for line in _whole_lines(path)]
        return [Entry.model_validate(entry) for entry in _content(path)["files"]]
    except (KeyError, TypeError, ValidationError) as error:
        raise refuse(path, f"no manifest, or damaged ({type(error).__name__})", _ADVICE, field="files") from error
