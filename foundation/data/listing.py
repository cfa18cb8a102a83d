"""The list of a hospital's image files, and whose they are."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from foundation.data.annotations import is_annotation, is_note
from foundation.data.file_choice import chosen_files
from foundation.data.file_owners import FileOwners
from foundation.data.image_source import ImageSource
from foundation.data.landmarks import Landmarks
from foundation.data.problems import Problems, refuse
from foundation.data.table_files import KEY
from foundation.data.tables import Kinds, read_source

_SLIDES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")
KINDS = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff"), "images"),
    **dict.fromkeys(_SLIDES, "slides"),
    **dict.fromkeys((".h5", ".hdf5"), "features"),
    **dict.fromkeys((".dcm", ".ima"), "dicom"),
    **dict.fromkeys((".nii", ".nii.gz"), "nifti"),
}
_COMPANIONS = (".dat", ".ini", ".opt")  # parts of MIRAX and Hamamatsu slides, read through their main file
_NAMED = 8  # files in one line
_ADVICE = "name its kind under sources in cohort.yaml, or take it out"


def list_images(
    folder: Path,
    source: ImageSource,
    patients: "pd.Index[str]",
    problems: Problems,
    leave_out: bool = False,
    landmarks: Landmarks | None = None,
) -> pd.DataFrame:
    """The files of one modality.

    A DICOM series of many files is one entry, its folder. Files that belong to nobody or cannot be told apart are noted
    and left out; those of nobody are no error where `leave_out` says so. Of a patient's several samples and days those
    are taken that the source's rules say, and nothing that was made after the landmark.

    Returns:
        A row a file, indexed by patient, a patient's files in order: `path` and `kind`.

    Raises:
        DataError: if the table that lists the files cannot be used.
    """
    if source.table is not None:
        paths, owners = _from_table(folder, source, landmarks, problems)
    else:
        paths, owners = _from_names(folder, source, patients, problems, leave_out)
    kinds = [kind_of(path, source) for path in paths]
    for path, kind in zip(paths, kinds, strict=True):
        if kind is None:
            problems.error(path, "no kind of image that is read here", _ADVICE, field="file", value=path.suffix)
    index = pd.Index(owners, name=KEY, dtype=object)
    table = pd.DataFrame({"path": [str(path) for path in paths], "kind": kinds}, index=index, dtype=object)
    table = table[table["kind"].notna()].sort_index(kind="stable")
    if source.annotations == "leave_out":
        table = _without_annotations(folder, source, table, problems)
    table = chosen_files(folder, source, table, landmarks if source.table is None else None, problems)
    if source.keep is None:
        return table
    kept = table.groupby(level=0, sort=False).head(source.keep)
    problems.tell(folder, f"{source.keep} files a patient are kept; the others", len(table) - len(kept))
    return kept


def kind_of(path: Path, source: ImageSource) -> str | None:
    """How a file is to be read: as declared, or by its suffix; a folder is a DICOM series."""
    if source.kind is not None or path.is_dir():
        return source.kind or "dicom"
    name = path.name.lower()
    return next((kind for suffix, kind in KINDS.items() if name.endswith(suffix)), None)


def _from_table(
    folder: Path, source: ImageSource, landmarks: Landmarks | None, problems: Problems
) -> tuple[list[Path], list[str]]:
    assert source.table is not None
    table, columns = folder / source.table.file, source.path_columns or ["file"]
    declared = source.table
    if source.select != "all":
        declared = declared.model_copy(update={"unique": source.select})
    timed = None if source.timeless else landmarks
    listed = read_source(folder, declared, False, Kinds(text=columns), problems, timed)
    if declared.key in columns and declared.key not in listed and declared.key_pattern is None:
        listed[declared.key] = listed.index
    for name in [*columns, *(column.removeprefix("-") for column in source.order)]:
        if name not in listed:
            advice = "name the files there, relative to the table" if name == "file" else "see `order` in cohort.yaml"
            if name in columns and name != "file":
                advice = "mend `path` in cohort.yaml, or declare the column"
            raise refuse(table, "no such column", advice, field=name)
    for name in columns:
        empty = listed[name].isna()
        if empty.any():
            finding = f"empty at patient {listed.index[empty][0]}"
            raise refuse(table, finding, "name the file, or drop the row", field=name)
    if source.order:
        names = [column.removeprefix("-") for column in source.order]
        ascending = [not column.startswith("-") for column in source.order]
        listed = listed.sort_values(names, ascending=ascending, kind="stable")
    if source.path is not None:
        rows = listed[columns].astype(str).to_dict(orient="records")
        return [folder / source.path.format(**row) for row in rows], listed.index.tolist()
    return [table.parent / str(file) for file in listed["file"]], listed.index.tolist()


def _from_names(
    folder: Path, source: ImageSource, patients: "pd.Index[str]", problems: Problems, leave_out: bool
) -> tuple[list[Path], list[str]]:
    assert source.files is not None
    paths = [path for path in sorted(folder.glob(source.files)) if _is_image(path)]
    names = [path.relative_to(folder) for path in paths]
    owners = FileOwners(patients, names, source.key_pattern, leave_out=leave_out)
    owned: dict[Path, str] = {}
    for path in paths:
        patient = problems.attempt(owners.of, path, path.relative_to(folder))
        if patient is None:
            continue
        if path.suffix.lower() == ".dcm" or source.kind == "dicom":
            owned.setdefault(_series(folder, path, source, owners), patient)
        else:
            owned[path] = patient
    owners.note_strangers(folder / source.files, problems)
    if owners.numbered:
        finding = f"{len(owners.numbered)} files hold another patient's id as a number, such as {owners.numbered[0]}"
        advice = "nothing to do if their folders are the patients'; else declare key_pattern"
        problems.warn(folder / source.files, finding, advice, field="patient_id")
    return list(owned), list(owned.values())


def _is_image(path: Path) -> bool:
    """Whether it stands for itself: not hidden, not a part of another file, no notes beside images."""
    part = path.suffix.lower() in _COMPANIONS or is_note(path)
    return path.is_file() and not path.name.startswith(".") and not part


def _series(folder: Path, path: Path, source: ImageSource, owners: FileOwners) -> Path:
    """What stands for all files of a DICOM series: their folder, if it is one patient's, or any file of a slide."""
    if not owners.names_one(path.parent.relative_to(folder)):
        return path
    return path.parent if source.kind != "slides" else min(path.parent.glob("*.dcm"), default=path)


def _without_annotations(folder: Path, source: ImageSource, listed: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """The files less those that are drawn on images, which are named."""
    root = folder if source.table is None else (folder / source.table.file).parent
    drawn = [
        kind != "features" and is_annotation(Path(os.path.relpath(path, root)), str(patient))
        for patient, path, kind in zip(listed.index, listed["path"], listed["kind"], strict=True)
    ]
    names = [os.path.relpath(path, root) for path in listed["path"][drawn]]
    if not names:
        return listed
    some = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    finding = f"{len(names)} left out as annotations (masks, segmentations, label maps): {some}"
    advice = "declare annotations: keep under sources to take them as images"
    place = source.table.file if source.table else source.files
    problems.warn(folder / str(place), finding, advice, field="file")
    problems.tell(folder / str(place), "files left out as annotations", len(names))
    return listed[~np.array(drawn)]
