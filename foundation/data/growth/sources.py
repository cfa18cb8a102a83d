"""The sources of one hospital's folder, each compared by digest with what a cohort was prepared from."""

import codecs
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
from foundation.data.table_rows import DIGEST_BYTES, ByRows, RowTable, read_added_rows, read_rows, table_by_rows
from foundation.data.tables import TableSource

PATIENTS = "patients"
_BLOCK = 1 << 20  # bytes
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
        settled: whether who withdrew is the same as before, so that rows of before need no second look.
    """

    name: str
    folder: Path
    declared: dict[str, Any]
    cut: dict[str, ByRows] = field(default_factory=dict)
    prints: dict[str, pd.DataFrame] = field(default_factory=dict)
    changed: dict[str, "pd.Index[str]"] = field(default_factory=dict)
    settled: bool = False
    _read: dict[str, RowTable] = field(default_factory=dict)
    _added: dict[str, tuple[RowTable, set[str]]] = field(default_factory=dict)

    def rows(self, name: str, patients: Collection[str]) -> RowTable:
        """A cut source's rows, at least those of some patients (as packed), read when they are first asked for."""
        if name in self._added and self._only_added(name, patients):
            return self._added[name][0]
        if name not in self._read:
            table = read_rows(self.cut[name])
            assert table is not None  # it was cut before
            self._read[name] = table
        return self._read[name]

    def ids(self, names: Names, patients: Collection[str]) -> dict[str, str]:
        """Packed name → patient, of some of the patients' table."""
        table = self.rows(PATIENTS, patients)
        packed = dict(zip(names(list(table.rows)), table.rows, strict=True))
        return {one: packed[one] for one in patients if one in packed}

    @property
    def everybody(self) -> "pd.Index[str]":
        """All of the patients' table, as packed, where that is cut by rows."""
        index = self.prints[PATIENTS].index
        return index[index != EVERYBODY] if PATIENTS in self.cut else pd.Index([], dtype=object)

    def _only_added(self, name: str, patients: Collection[str]) -> bool:
        """Whether none of them had rows that stand in the file since before."""
        index, (_, added) = self.prints[name].index, self._added[name]
        return not any(one in index and one not in added for one in patients)

    def whole(self, name: str) -> bool:
        """Whether a source, where it has changed, has for everybody."""
        return EVERYBODY in self.changed.get(name, ())


def look(
    name: str, folder: Path, declaration: Declaration, before: Prints, names: Names, settled: bool
) -> FolderSources:
    """Digests of all that lies in a folder but images, and what of it differs.

    Args:
        name: of the folder.
        folder: its path.
        declaration: of the cohort.
        before: digests that the cohort was prepared from; empty where it is prepared for the first time.
        names: of patients, as packed.
        settled: whether who withdrew is the same as then.
    """
    patients = declaration.sources.patients or usual_patients(folder)
    declared = {PATIENTS: patients, **places_of(folder, declaration.sources)}
    sources = FolderSources(name, folder, declared, settled=settled)
    for field_name, source in sources.declared.items():
        if isinstance(source, ImageSource):
            continue
        salt = str(declaration.expression_units.get(name, "")) if field_name == "expression" else ""
        by_rows, earlier = _by_rows(field_name, source, folder), before.get((name, field_name))
        if by_rows is None:
            whole = _digest_of_files(files_of_source(source, folder), folder, salt)
            sources.prints[field_name] = frame_of({EVERYBODY: whole}, {EVERYBODY: 0})
            sources.changed[field_name] = differing(sources.prints[field_name], earlier)
        else:
            _compare_rows(sources, field_name, by_rows, earlier, salt, names)
    return sources


def _compare_rows(
    sources: FolderSources, name: str, by_rows: ByRows, earlier: pd.DataFrame | None, salt: str, names: Names
) -> None:
    """Digests of a source's rows, from before for those that are the same; of all together where they are one."""
    known = earlier if sources.settled and earlier is not None and len(earlier) > 1 else None
    before, size = (None, 0) if known is None else (int(known.at[EVERYBODY, part]) for part in ("digest", "stat"))
    whole, begin = _digests(by_rows, size, sources.folder, salt)
    everybody = frame_of({EVERYBODY: whole}, {EVERYBODY: by_rows.path.stat().st_size})
    if known is not None and before == whole:
        sources.cut[name], sources.prints[name] = by_rows, known
        sources.changed[name] = pd.Index([], dtype=object)
        sources._added[name] = RowTable("", {}), set()
        return
    if known is not None and before == begin:
        added = read_added_rows(by_rows, size)
        digests = {} if added is None else added.digests(salt)
        packed = names(list(digests))
        if added is not None and not known.index.isin(packed).any():
            new = frame_of(dict(zip(packed, digests.values(), strict=True)))
            sources.cut[name], sources._added[name] = by_rows, (added, set(packed))
            sources.prints[name] = pd.concat([everybody, known[known.index != EVERYBODY], new])
            sources.changed[name] = new.index
            return
    table = read_rows(by_rows)
    if table is None:
        sources.prints[name], sources.changed[name] = everybody, differing(everybody, earlier)
        return
    sources.cut[name], sources._read[name] = by_rows, table
    digests = table.digests(salt)
    packed = names(list(digests))
    each = frame_of(dict(zip(packed, digests.values(), strict=True)))
    sources.prints[name] = pd.concat([everybody, each])
    changed = differing(sources.prints[name], earlier)
    # A file that was another kind before says nothing of its rows; else the file's own digest tells of none of them.
    whole_before = earlier is not None and len(earlier) == 1
    sources.changed[name] = changed if whole_before else changed[changed != EVERYBODY]


def _digests(by_rows: ByRows, size: int, folder: Path, salt: str) -> tuple[int, int | None]:
    """64 bits over a file's content, and over its first bytes alone; it is read once.

    Args:
        by_rows: names it.
        size: bytes at its start that may be the whole of the earlier one; 0 where nothing is known.
        folder: of the hospital.
        salt: goes into both.

    Returns:
        The second is None where rows cannot have been added to these: they end within a line, or are packed.
    """
    plain = by_rows.path.suffix != ".gz" and by_rows.dialect.encoding.lower().replace("-", "") == "utf8"
    digest, last, left, begin = hashlib.sha256(), b"", size if plain else 0, None
    with by_rows.path.open("rb") as file:
        while block := file.read(min(left, _BLOCK) or _BLOCK):
            if not last and block.startswith(codecs.BOM_UTF8):
                left = 0
            digest.update(block)
            last = block[-1:]
            if left:
                left -= len(block)
                if not left and last == b"\n":
                    begin = digest.digest()
    of_begin = None if begin is None else _digest_of([(by_rows.path, begin)], folder, salt)
    return _digest_of([(by_rows.path, digest.digest())], folder, salt), of_begin


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
        if pattern and name == "sequenced":  # lies beside the variants
            pattern = (Path(getattr(source, "file", "")).parent / pattern).as_posix()
        if pattern:
            exact = folder / pattern
            paths += (
                [exact]
                if exact.is_file()
                else sorted(path for path in map(Path, glob(str(folder / pattern), recursive=True)) if path.is_file())
            )
    return paths + [
        one for name in ("table", "sample_sheet") for one in files_of_source(getattr(source, name, None), folder)
    ]


def _digest_of_files(paths: list[Path], folder: Path, salt: str) -> int:
    """64 bits over names and content."""
    parts = []
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                parts.append((path, hashlib.file_digest(file, "sha256").digest()))
    return _digest_of(parts, folder, salt)


def _digest_of(parts: list[tuple[Path, bytes]], folder: Path, salt: str) -> int:
    whole = hashlib.blake2b(salt.encode(), digest_size=DIGEST_BYTES)
    for path, digest in parts:
        whole.update(f"\n{path.relative_to(folder) if path.is_relative_to(folder) else path.name}\n".encode())
        whole.update(digest)
    return int.from_bytes(whole.digest(), "little")


def strangers(sources: FolderSources, withdrawn: Collection[str]) -> bool:
    """Whether a source that is cut by rows names a patient whom the patients' table lacks, of those who stay."""
    if PATIENTS not in sources.cut:
        return False
    everybody = sources.prints[PATIENTS].index
    each = (sources.prints[name].index for name in sources.cut)
    return any(not set(withdrawn).issuperset(index[everybody.get_indexer(index) < 0]) for index in each)
