"""What a folder's changes ask to be read: by modality the patients to pack anew, and the parts of sources for them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.declaration import HospitalColumn
from foundation.data.growth.sources import PATIENTS, FolderSources, Names, files_of_source
from foundation.data.growth.state import EVERYBODY, Prints, differing, frame_of
from foundation.data.image_looks import digest
from foundation.data.image_preparation import ImagePreparation
from foundation.data.image_source import ImageSource
from foundation.data.preparation import preparations
from foundation.data.site import Site


@dataclass(frozen=True)
class Fresh:
    """Patients, as packed, whose values of one modality are packed anew.

    Attributes:
        names: of them.
        everybody: whether it is all of the folder's.
    """

    names: frozenset[str]
    everybody: bool = False

    def of(self, members: Collection[str]) -> set[str]:
        """Those among a hospital's patients."""
        return set(members) if self.everybody else set(self.names.intersection(members))

    def __bool__(self) -> bool:
        return self.everybody or bool(self.names)


def fresh_of(
    sources: FolderSources, before: Prints, new: Collection[str], of_patients: bool = False
) -> dict[str, Fresh]:
    """By modality, and for `patients`, who is to be packed anew by what changed in a folder's tables.

    Args:
        sources: of the folder, compared.
        before: digests of the last preparation.
        new: patients who were none of the cohort's.
        of_patients: whether every modality hangs on the patients' table, too.
    """
    fields = {PATIENTS: [PATIENTS]} | {name: list(one.sources) for name, one in preparations().items()}
    fresh = {}
    for name, of_modality in fields.items():
        gone = any((sources.name, field) in before and field not in sources.declared for field in of_modality)
        read_from = [*_read_from(sources, name, of_modality), *([PATIENTS] if of_patients else [])]
        changed = [sources.changed[field] for field in read_from if field in sources.changed]
        everybody = gone or any(EVERYBODY in index for index in changed)
        fresh[name] = Fresh(frozenset(new).union(*changed), everybody)
    return fresh


def _read_from(sources: FolderSources, name: str, fields: list[str]) -> list[str]:
    """The fields that a modality's values come from; also of others, where it is written from those."""
    declared = [field for field in fields if field in sources.declared]
    written = [f for f in declared if f not in sources.cut and not files_of_source(sources.declared[f], sources.folder)]
    if not written or name == PATIENTS or isinstance(sources.declared[written[0]], ImageSource):
        return fields
    return [*fields, *(field for other in preparations()[name].after for field in preparations()[other].sources)]


def parts_to_read(
    sources: FolderSources, fresh: Mapping[str, Fresh], hospitals: Any, names: Names, scratch: Path
) -> dict[str, Any] | None:
    """By field, what is read instead of a whole source; None where nothing of the folder has to be read.

    Args:
        sources: of the folder.
        fresh: by modality.
        hospitals: as declared.
        names: of patients, as packed.
        scratch: folder for parts of tables.
    """
    owners = {field: name for name, one in preparations().items() for field in one.sources}
    images = [name for name, source in sources.declared.items() if isinstance(source, ImageSource)]
    wanted = [name for name in sources.declared if name != PATIENTS and (fresh[owners[name]] or name in images)]
    if not wanted and not fresh[PATIENTS]:
        return None
    if PATIENTS not in sources.cut:
        return {}
    parts: dict[str, Any] = {name: None for name in owners if name not in wanted}
    for name in wanted:
        if name in sources.cut and not fresh[owners[name]].everybody:
            parts[name] = _part(sources, name, fresh[owners[name]].names, names, scratch)
    read_whole = isinstance(hospitals, HospitalColumn) or any(name not in sources.cut for name in wanted)
    if not read_whole and not any(each.everybody for each in fresh.values()):
        asked = frozenset[str]().union(*(each.names for each in fresh.values()))
        parts[PATIENTS] = _part(sources, PATIENTS, asked, names, scratch)
        if parts[PATIENTS] is None:
            return None
    return parts


def _part(sources: FolderSources, name: str, packed: Collection[str], names: Names, scratch: Path) -> Any:
    """The source of those patients' rows alone; None where there are none."""
    patients = set(sources.ids(names, packed).values())
    table, by_rows = sources.rows(name, packed), sources.cut[name]
    if table.rows.keys().isdisjoint(patients):
        return None
    path = scratch / sources.name / f"{name}-{by_rows.path.name.removesuffix('.gz')}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table.only(patients), encoding="utf-8", newline="")
    return by_rows.moved(path)


def image_prints(site: Site, names: Mapping[str, str], before: Prints) -> dict[tuple[str, str], pd.DataFrame]:
    """Digests of a hospital's image files, by modality; read where name, size or time is another than before.

    Args:
        site: with its files listed.
        names: patient → as packed.
        before: digests of the last preparation.
    """
    prints = {}
    for name, one in preparations().items():
        if not isinstance(one, ImagePreparation) or name not in site.tables:
            continue
        key = (site.name, name)
        earlier = before.get(key, frame_of({}))
        stats, digests = {}, {}
        for patient, listed in site.tables[name].groupby(level=0):
            packed, kinds = names[str(patient)], listed["kind"].tolist()
            files = [_files(one, Path(path), kind, site) for path, kind in zip(listed["path"], kinds, strict=True)]
            stats[packed] = _stat(files, site.folder)
            unread = packed in earlier.index and int(earlier.at[packed, "stat"]) == stats[packed]
            digests[packed] = int(earlier.at[packed, "digest"]) if unread else _content(files, kinds)
        prints[key] = frame_of(digests, stats)
    return prints


def _files(preparation: ImagePreparation, path: Path, kind: str, site: Site) -> list[Path]:
    source = site.sources.get(preparation.storage.name)
    return preparation.files_of(path, kind, source) if path.exists() else []


def changed_images(now: pd.DataFrame | None, before: pd.DataFrame | None) -> "pd.Index[str]":
    """Patients whose files are new, others than before, or gone."""
    return differing(frame_of({}) if now is None else now, frame_of({}) if before is None else before)


def _stat(files: list[list[Path]], folder: Path) -> int:
    import xxhash

    parts = []
    for file in (file for each in files for file in each):
        stat = file.stat()
        parts.append(
            f"{file.relative_to(folder) if file.is_relative_to(folder) else file} {stat.st_size} {stat.st_mtime_ns}"
        )
    return int(xxhash.xxh3_64_intdigest("\n".join(parts).encode()))


def _content(files: list[list[Path]], kinds: list[str]) -> int:
    import xxhash

    parts = [f"{kind} {digest(each) if each else ''}" for each, kind in zip(files, kinds, strict=True)]
    return int(xxhash.xxh3_64_intdigest("\n".join(parts).encode()))
