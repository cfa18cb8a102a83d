"""Free-text reports: read from text files, joined by patient in the order of their dates."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from foundation.data.dates import ADVICE
from foundation.data.file_owners import FileOwners
from foundation.data.landmarks import Landmarks
from foundation.data.problems import Problems, refuse
from foundation.data.table_files import KEY, read_bytes

_ADVICE = ADVICE.replace("write", "write dates as", 1)
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d-[01]\d-[0-3]\d|(?:19|20)\d\d[01]\d[0-3]\d)(?!\d)")
_MARKUP = re.compile(r"\s*(?:\{\\rtf|<!doctype|<html|<\?xml|<body)", re.IGNORECASE)


def read_texts(
    folder: Path,
    files: str,
    patients: Iterable[str],
    pattern: str | None,
    problems: Problems,
    leave_out: bool = False,
) -> pd.DataFrame:
    """Reports that are text files; each file that cannot be used is noted and left out.

    Args:
        folder: the hospital's.
        files: a glob in it.
        patients: those known; see `foundation.data.file_owners`.
        pattern: of the patient in a file's path, likewise.
        problems: takes the findings.
        leave_out: whether files that name no patient are left out rather than refused.

    Returns:
        A row a file, indexed by `patient_id`: `text`, and `date`, the ISO date (`2020-03-01` or `20200301`) in the
        file's name, if there is one; `file`, relative to the folder.

    Raises:
        DataError: if no file matches.
    """
    paths = sorted(path for path in folder.glob(files) if path.is_file())
    if not paths:
        raise refuse(folder / files, "no such file", "put the reports there, or mend `files` in the declaration")
    names = [path.relative_to(folder) for path in paths]
    advice = "name one of them in the file's name, declare key_pattern under sources, or give a table of reports"
    owners = FileOwners(patients, names, pattern, advice, leave_out)
    rows = []
    for path, name in zip(paths, names, strict=True):
        report = problems.attempt(_owned, path, name, owners)
        if report is not None:
            rows.append((*report, str(name)))
    owners.note_strangers(folder / files, problems)
    frame = pd.DataFrame(rows, columns=[KEY, "text", "date", "file"], dtype=object).set_index(KEY)
    return frame.assign(date=pd.to_datetime(frame["date"], errors="coerce", format="ISO8601"))


def _owned(path: Path, name: Path, owners: FileOwners) -> tuple[str, str, str | None] | None:
    patient = owners.of(path, name)
    if patient is None:
        return None
    rest = name.name.replace(patient, " ", 1)
    date = _DATE.search(rest)
    return patient, read_text(path), date.group(1) if date else None


def read_text(path: Path) -> str:
    """One report.

    Raises:
        DataError: if the file is empty, cut off, not UTF-8, or marked up (HTML, RTF, XML, PDF) rather than plain text.
    """
    text = read_bytes(path).decode("utf-8")
    markup = _MARKUP.match(text)
    if markup:
        raise refuse(path, "marked-up text, no plain text", "save it as plain text", value=markup.group().strip())
    return text.replace("\r\n", "\n").strip()


def join_reports(
    reports: pd.DataFrame, path: Path, landmarks: Landmarks | None = None, problems: Problems | None = None
) -> pd.DataFrame:
    """A patient's reports as one text, in the order of their dates; undated ones come last, in the order given.

    A note that a patient has twice, word by word, is taken once.

    Args:
        reports: a row a report, indexed by `patient_id`: `text`, and `date` where that is known.
        path: where they were read, for messages.
        landmarks: those dated after them, or not at all, are left out.
        problems: takes how many.

    Returns:
        A row a patient, in the order of first appearance: `text`, and `date`, the last report's (NaT if unknown).
        Patients whose reports are all blank are left out.

    Raises:
        DataError: if there is no column of texts, a cell holds no text, or a date is none.
    """
    if "text" not in reports:
        raise refuse(path, "no column 'text'", "declare which column holds the report", field="text")
    cells = reports["text"]
    other = cells.notna() & ~cells.map(lambda cell: isinstance(cell, str))
    if other.any():
        patient, value = next(iter(cells[other].items()))
        raise refuse(path, f"no text at patient {patient}", "declare the column of texts", field="text", value=value)
    kept = reports[cells.notna() & (cells.astype(str).str.strip() != "")]
    dates = _dates(kept, path)
    if landmarks is not None and problems is not None:
        early = landmarks.keep(kept.index, dates, path, "reports", problems)
        kept, dates = kept[early], dates[early]
    order = dates.reset_index(drop=True).sort_values(kind="stable", na_position="last").index
    table = pd.DataFrame({"text": kept["text"].str.strip(), "date": dates}).iloc[order]
    table = table[~table.assign(patient=table.index).duplicated(["patient", "text"])]
    joined = table.groupby(level=0, sort=False).agg({"text": "\n\n".join, "date": "max"})
    return joined.loc[kept.index.unique()].rename_axis(KEY)


def _dates(reports: pd.DataFrame, path: Path | str) -> "pd.Series[pd.Timestamp]":
    if "date" not in reports:
        return pd.Series(pd.NaT, index=reports.index, dtype="datetime64[ns]")
    written = reports["date"]
    dates = pd.to_datetime(written, errors="coerce", format=None if written.dtype.kind == "M" else "ISO8601", utc=True)
    wrong = dates.isna() & written.notna() & (written.astype(str).str.strip() != "")
    if wrong.any():
        patient, value = next(iter(written[wrong].items()))
        raise refuse(path, f"no ISO date at patient {patient}", _ADVICE, field="date", value=value)
    return dates.dt.tz_localize(None)
