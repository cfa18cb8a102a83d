"""The choice among a patient's several files: by sample, and by the day on which they were made."""

import os
import re
from pathlib import Path

import pandas as pd

from foundation.data.image_source import ImageSource
from foundation.data.landmarks import Landmarks
from foundation.data.problems import Problems, refuse
from foundation.data.row_rule import by_rule
from foundation.data.samples import preferred
from foundation.data.strict import with_group

_DATES = ("AcquisitionDate", "SeriesDate", "StudyDate")


def chosen_files(
    folder: Path, source: ImageSource, listed: pd.DataFrame, landmarks: Landmarks | None, problems: Problems
) -> pd.DataFrame:
    """The files that the source's rules take.

    Args:
        folder: the hospital's.
        source: how the files are declared; a table's rows were chosen by date when it was read.
        listed: a row a file, indexed by patient.
        landmarks: files that were made after them are left out.
        problems: takes the counts.

    Raises:
        DataError: if no file matches a pattern of samples, or what stands for a date is none.
    """
    if not len(listed):
        return listed
    place = folder / str(source.files or (source.table and source.table.file))
    if source.samples is not None:
        names = pd.Series([Path(path).name for path in listed["path"]], dtype=object)
        kept = preferred(names, pd.Series(listed.index), source.samples)
        if not kept.any():
            raise refuse(place, "no name matches a pattern of samples", "mend the patterns", "samples", value=names[0])
        problems.tell(place, "files of a patient's other samples, left out", int((~kept).sum()))
        listed = listed[kept.to_numpy()]
    if source.timeless or source.files is None:
        return listed
    if source.date_pattern is not None:
        dates = _dates_in_names(folder, source.date_pattern, listed)
    elif (listed["kind"] == "dicom").any():
        dates = _dates_of_scans(listed)
    else:
        if source.select != "all":
            advice = "say date_pattern, which finds the date in a file's path"
            raise refuse(place, f"select: {source.select}, and nobody says when files were made", advice, "select")
        if landmarks is not None:
            landmarks.note_undated(place, "files", problems)
        return listed
    if landmarks is not None:
        kept = landmarks.keep(listed.index, dates, place, "files", problems)
        listed, dates = listed[kept], dates[kept].reset_index(drop=True)
    if source.select != "all":
        latest = by_rule(pd.Series(listed.index), source.select, dates, alone=False)
        problems.tell(place, f"a patient's other files (select: {source.select})", int((~latest).sum()))
        listed = listed[latest.to_numpy()]
    return listed


def _dates_of_scans(listed: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    """When each DICOM series was made, by its first readable file; NaT where it does not say, and of other files."""
    dates = [_date_of_series(Path(row.path)) if row.kind == "dicom" else None for row in listed.itertuples()]
    return pd.to_datetime(pd.Series(dates, dtype=object), errors="coerce", format="ISO8601").astype("datetime64[s]")


def _date_of_series(path: Path) -> str | None:
    import pydicom  # here, for whoever has no new scan need not wait for it

    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    for file in files:
        try:
            tags = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_DATES))
        except (pydicom.errors.InvalidDicomError, OSError):
            continue  # what cannot be read is named where its pixels are
        return next((str(tags[name].value)[:8] for name in _DATES if name in tags and tags[name].value), None)
    return None


def _dates_in_names(folder: Path, pattern: str, listed: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    """When each file was made, by its name; NaT where the pattern does not match."""
    search = re.compile(with_group(pattern))
    names = [os.path.relpath(path, folder) for path in listed["path"]]
    written = [match.group(1) if (match := search.search(name)) else None for name in names]
    dates = pd.to_datetime(pd.Series(written, dtype=object), errors="coerce", format="ISO8601")
    wrong = [name for name, text, date in zip(names, written, dates, strict=True) if text and pd.isna(date)]
    if wrong:
        advice = "let the group of the pattern hold 2020-03-01 or 20200301"
        raise refuse(folder / wrong[0], "date_pattern finds no date", advice, field="date_pattern")
    return dates.dt.tz_localize(None).astype("datetime64[s]")
