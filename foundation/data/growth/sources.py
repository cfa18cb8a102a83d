"""The sources of one hospital's folder, each compared by digest with what a cohort was prepared from."""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from foundation.data.declaration import Declaration
from foundation.data.growth.state import EVERYBODY, Prints, differing, frame_of
from foundation.data.image_source import ImageSource
from foundation.data.preparation import preparations
from foundation.data.reading import places_of
from foundation.data.sources import usual_patients
from foundation.data.table_rows import DIGEST_BYTES, ByRows, RowTable, read_rows, table_by_rows
from foundation.data.tables import TableSource

PATIENTS = "patients"
Names = Callable[[Collection[str]], list[str]]  # ids as packed


@dataclass
class FolderSources:
    """What lies in a hospital's folder, apart from images.

    Attributes:
        name: of the folder.
        folder: its path.
        declared: by field, where each source lies.
        cut: of those whose rows are told apart by patient, how; the others are read whole.
        prints: by field, digests by packed patient.
        changed: by field, patients (as packed) who are new there or have changed; everybody where it has no rows.
        ids: packed name → patient, of the patients' table where that is cut by rows.
    """

    name: str
    folder: Path
    declared: dict[str, Any]
    cut: dict[str, ByRows] = field(default_factory=dict)
    prints: dict[str, pd.DataFrame] = field(default_factory=dict)
    changed: dict[str, "pd.Index[str]"] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    _read: dict[str, RowTable] = field(default_factory=dict)

    def rows(self, name: str) -> RowTable:
        """A cut source's rows, read when they are first asked for."""
        if name not in self._read:
            table = read_rows(self.cut[name])
            assert table is not None  # it was cut before
            self._read[name] = table
        return self._read[name]

    def whole(self, name: str) -> bool:
        """Whether a source, where it has changed, has for everybody."""
        return EVERYBODY in self.changed.get(name, ())


def look(name: str, folder: Path, declaration: Declaration, before: Prints, names: Names) -> FolderSources:
    """Digests of all that lies in a folder but images, and what of it differs.

    Args:
        name: of the folder.
        folder: its path.
        declaration: of the cohort.
        before: digests that the cohort was prepared from; empty where it is prepared for the first time.
        names: of patients, as packed.
    """
    patients = declaration.sources.patients or usual_patients(folder)
    sources = FolderSources(name, folder, {PATIENTS: patients, **places_of(folder, declaration.sources)})
    for field_name, source in sources.declared.items():
        if isinstance(source, ImageSource):
            continue
        salt = str(declaration.expression_units.get(name, "")) if field_name == "expression" else ""
        by_rows = _by_rows(field_name, source, folder)
        earlier = before.get((name, field_name))
        files = [by_rows.path] if by_rows else files_of_source(source, folder)
        whole = _digest_of_files(files, folder, salt)
        same = earlier is not None and EVERYBODY in earlier.index and earlier["digest"][EVERYBODY] == whole
        if by_rows:
            _compare_rows(sources, field_name, by_rows, None if not same else earlier, earlier, whole, salt, names)
        if field_name not in sources.prints:
            sources.prints[field_name] = frame_of({EVERYBODY: whole})
            sources.changed[field_name] = differing(sources.prints[field_name], earlier)
    return sources


def _compare_rows(
    sources: FolderSources,
    name: str,
    by_rows: ByRows,
    same: pd.DataFrame | None,
    earlier: pd.DataFrame | None,
    whole: int,
    salt: str,
    names: Names,
) -> None:
    """Digests of a source's rows, from before where the file is the same; nothing where they cannot be told apart."""
    if same is not None and len(same) > 1 and name != PATIENTS:
        sources.cut[name], sources.prints[name] = by_rows, same
        sources.changed[name] = pd.Index([], dtype=object)
        return
    table = read_rows(by_rows)
    if table is None:
        return
    sources.cut[name], sources._read[name] = by_rows, table
    digests = table.digests(salt)
    packed = names(list(digests))
    if name == PATIENTS:
        sources.ids = dict(zip(packed, digests, strict=True))
    sources.prints[name] = frame_of({EVERYBODY: whole, **dict(zip(packed, digests.values(), strict=True))})
    changed = differing(sources.prints[name], earlier)
    # A file that was another kind before says nothing of its rows; else the file's own digest tells of none of them.
    whole_before = earlier is not None and len(earlier) == 1
    sources.changed[name] = changed if whole_before else changed[changed != EVERYBODY]


def _by_rows(name: str, source: Any, folder: Path) -> ByRows | None:
    if name == PATIENTS:
        return table_by_rows(source.read_for(PATIENTS), folder) if isinstance(source, TableSource) else None
    owner = next(one for one in preparations().values() if name in one.sources)
    return owner.by_rows(source, folder)


def files_of_source(source: Any, folder: Path) -> list[Path]:
    """Every file that a declared source names, in order; none for what is written from other sources."""
    if isinstance(source, list):
        return [path for one in source for path in files_of_source(one, folder)]
    if not isinstance(source, BaseModel):
        return []
    paths: list[Path] = []
    for name in ("file", "files", "sequenced"):
        pattern = getattr(source, name, None)
        if pattern:
            exact = folder / pattern
            paths += (
                [exact]
                if exact.is_file()
                else sorted(path for path in map(Path, glob(str(folder / pattern), recursive=True)) if path.is_file())
            )
    return paths + files_of_source(getattr(source, "table", None), folder)


def _digest_of_files(paths: list[Path], folder: Path, salt: str) -> int:
    """64 bits over names and content."""
    whole = hashlib.blake2b(salt.encode(), digest_size=DIGEST_BYTES)
    for path in paths:
        if path.is_file():
            whole.update(f"\n{path.relative_to(folder) if path.is_relative_to(folder) else path.name}\n".encode())
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    return int.from_bytes(whole.digest(), "little")


def strangers(sources: FolderSources, withdrawn: Collection[str]) -> bool:
    """Whether a source that is cut by rows names a patient whom the patients' table lacks, of those who stay."""
    if PATIENTS not in sources.cut:
        return False
    everybody = sources.prints[PATIENTS].index
    each = (sources.prints[name].index.difference(everybody) for name in sources.cut)
    return any(not set(withdrawn).issuperset(names) for names in each)
