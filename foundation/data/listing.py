"""The list of a hospital's image files, and whose they are."""

import re
from pathlib import Path

import pandas as pd

from foundation.data.image_source import ImageSource
from foundation.data.problems import Problems, refuse
from foundation.data.table_files import KEY
from foundation.data.tables import read_source

_SLIDES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")
KINDS = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff"), "images"),
    **dict.fromkeys(_SLIDES, "slides"),
    **dict.fromkeys((".h5", ".hdf5"), "features"),
    **dict.fromkeys((".dcm", ".ima"), "dicom"),
    **dict.fromkeys((".nii", ".nii.gz"), "nifti"),
}
_COMPANIONS = (".dat", ".ini", ".opt")  # parts of MIRAX and Hamamatsu slides, read through their main file
_ADVICE = "name its kind under sources in cohort.yaml, or take it out"


def list_images(folder: Path, source: ImageSource, patients: "pd.Index[str]", problems: Problems) -> pd.DataFrame:
    """The files of one modality.

    A DICOM series of many files is one entry, its folder. Files that belong to nobody or cannot be told apart are noted
    and left out.

    Returns:
        A row a file, indexed by patient, a patient's files in order: `path` and `kind`.

    Raises:
        DataError: if the table that lists the files cannot be used.
    """
    if source.table is not None:
        paths, owners = _from_table(folder, source)
    else:
        paths, owners = _from_names(folder, source, patients, problems)
    kinds = [kind_of(path, source) for path in paths]
    for path, kind in zip(paths, kinds, strict=True):
        if kind is None:
            problems.error(path, "no kind of image that is read here", _ADVICE, field="file", value=path.suffix)
    index = pd.Index(owners, name=KEY, dtype=object)
    table = pd.DataFrame({"path": [str(path) for path in paths], "kind": kinds}, index=index, dtype=object)
    table = table[table["kind"].notna()].sort_index(kind="stable")
    return table if source.keep is None else table.groupby(level=0, sort=False).head(source.keep)


def patient_of(name: Path, known: set[str]) -> str | None:
    """The patient whose id stands in a file's name, or else in a folder's; the longest where several do."""
    for part in reversed(name.parts):
        starts = [0, *(match.end() for match in re.finditer(r"[^A-Za-z0-9]", part))]
        ends = [*(match.start() for match in re.finditer(r"[^A-Za-z0-9]", part)), len(part)]
        ids = {part[start:end] for start in starts for end in ends if start < end} & known
        if ids:
            return max(ids, key=lambda patient: (len(patient), patient))
    return None


def kind_of(path: Path, source: ImageSource) -> str | None:
    """How a file is to be read: as declared, or by its suffix; a folder is a DICOM series."""
    if source.kind is not None or path.is_dir():
        return source.kind or "dicom"
    name = path.name.lower()
    return next((kind for suffix, kind in KINDS.items() if name.endswith(suffix)), None)


def _from_table(folder: Path, source: ImageSource) -> tuple[list[Path], list[str]]:
    assert source.table is not None
    table = folder / source.table.file
    listed = read_source(folder, source.table, unique=False)
    for name in ["file", *(column.removeprefix("-") for column in source.order)]:
        if name not in listed:
            advice = "name the files there, relative to the table" if name == "file" else "see `order` in cohort.yaml"
            raise refuse(table, "no such column", advice, field=name)
    empty = listed["file"].isna()
    if empty.any():
        raise refuse(
            table, f"empty at patient {listed.index[empty][0]}", "name the file, or drop the row", field="file"
        )
    if source.order:
        names = [column.removeprefix("-") for column in source.order]
        ascending = [not column.startswith("-") for column in source.order]
        listed = listed.sort_values(names, ascending=ascending, kind="stable")
    return [table.parent / str(file) for file in listed["file"]], listed.index.tolist()


def _from_names(
    folder: Path, source: ImageSource, patients: "pd.Index[str]", problems: Problems
) -> tuple[list[Path], list[str]]:
    assert source.files is not None
    known = set(patients)
    owned: dict[Path, str] = {}
    for path in sorted(folder.glob(source.files)):
        name = path.relative_to(folder)
        if not path.is_file() or name.name.startswith(".") or path.suffix.lower() in _COMPANIONS:
            continue
        patient = patient_of(name, known)
        if patient is None:
            problems.error(path, "names no patient of the patients' table", "put the patient's id into the file's name")
        elif path.suffix.lower() == ".dcm" or source.kind == "dicom":
            owned.setdefault(_series(folder, path, source, known), patient)
        else:
            owned[path] = patient
    return list(owned), list(owned.values())


def _series(folder: Path, path: Path, source: ImageSource, known: set[str]) -> Path:
    """What stands for all files of a DICOM series: their folder, if it is one patient's, or any file of a slide."""
    if patient_of(path.parent.relative_to(folder), known) is None:
        return path
    return path.parent if source.kind != "slides" else min(path.parent.glob("*.dcm"), default=path)
