"""The usual places of a hospital's folder: files found there need no declaration.

| modality | place |
| --- | --- |
| patients | `patients.csv` (or `.tsv`, `.parquet`, `.jsonl`): `patient_id`, labels, survival |
| pathology | `pathology.csv` listing `patient_id`, `file`; else `slides/`, `features/*.h5` |
| radiology | `radiology.csv` listing `patient_id`, `file`; else `radiology/`: DICOM folders or NIfTI files |
| expression | `expression.csv` (`.tsv`, `.parquet`, `.h5ad`), a column a gene |
| mutations | `mutations.csv` (…), a column a gene; else `mutations.maf` |
| copy number | `copy_number.csv` (…), a column a gene |
| reports | `reports.csv` (…, `.jsonl`) with `text`, and `date`; else `reports/*.txt` |
| record | `record.csv` (…), the data dictionary's columns |
"""

from pathlib import Path

from foundation.data.declaration import GeneSource, ImageSource, ReportSource, Sources
from foundation.data.problems import refuse
from foundation.data.tables import TableSource

TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".csv.gz", ".tsv.gz")
_SLIDES = "slides/**/*"
_FEATURES = "features/**/*.h5"


def find(folder: Path, declared: Sources) -> Sources:
    """What is declared, filled up with what lies in the usual places.

    Raises:
        DataError: if one place holds two files of the same thing.
    """
    found = declared.model_copy()
    found.patients = declared.patients or TableSource(file=_table(folder, "patients") or "patients.csv")
    found.pathology = declared.pathology or _pathology(folder)
    found.radiology = declared.radiology or _radiology(folder)
    for channel, more in (("expression", (".h5ad",)), ("mutations", (".maf", ".maf.gz")), ("copy_number", ())):
        file = _table(folder, channel, more)
        if getattr(declared, channel) is None and file is not None:
            setattr(found, channel, GeneSource(file=file))
    if declared.reports is None:
        file = _table(folder, "reports")
        if file is not None:
            found.reports = ReportSource(table=TableSource(file=file))
        elif any(folder.glob("reports/*.txt")):
            found.reports = ReportSource(files="reports/*.txt")
    record = _table(folder, "record")
    if declared.record is None and record is not None:
        found.record = TableSource(file=record)
    return found


def _table(folder: Path, stem: str, more: tuple[str, ...] = ()) -> str | None:
    names = [f"{stem}{suffix}" for suffix in (*TABLES, *more) if (folder / f"{stem}{suffix}").is_file()]
    if len(names) > 1:
        raise refuse(folder, f"both {names[0]} and {names[1]}", "keep one, or declare which under sources")
    return names[0] if names else None


def _pathology(folder: Path) -> ImageSource | None:
    listing = _table(folder, "pathology")
    if listing is not None:
        return ImageSource(table=TableSource(file=listing))
    if any(folder.glob(_SLIDES)):
        return ImageSource(files=_SLIDES, kind="slides")
    return ImageSource(files=_FEATURES, kind="features") if any(folder.glob(_FEATURES)) else None


def _radiology(folder: Path) -> ImageSource | None:
    listing = _table(folder, "radiology")
    if listing is not None:
        return ImageSource(table=TableSource(file=listing))
    return ImageSource(files="radiology/**/*") if (folder / "radiology").is_dir() else None
