"""A look at the head of a table: its columns, some rows, and how it is written."""

import gzip
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.delimited import DELIMITERS, layout, read_text
from foundation.data.numbers import numbers
from foundation.data.problems import DataError
from foundation.data.table_files import LINES, PARQUET, as_text, read_frame

_LINES = 400  # of a text file
_SUFFIXES = (*DELIMITERS, *LINES, *PARQUET)
# Columns that name patients, likeliest first.
_KEYS = (
    *("patient_id", "case_id", "bcr_patient_barcode", "participant_id", "subject_id", "patientid", "caseid"),
    *("patient", "subject", "mrn", "case", "pid", "person_id", "sample_id", "sample", "tumor_sample_barcode", "id"),
)
_TCGA = re.compile(r"TCGA-\w{2}-\w{4}")


@dataclass(frozen=True)
class Glance:
    """The head of one table.

    Attributes:
        name: relative to the folder.
        frame: some rows, cells as text or as the file's own types.
        comments: lines above the header.
        dialect: what its declaration must say of how it is written.
    """

    name: str
    frame: pd.DataFrame
    comments: list[str] = field(default_factory=list)
    dialect: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Names, as the file has them."""
        return [str(name) for name in self.frame.columns]

    def key(self) -> str | None:
        """The column that names patients; None where no name says so."""
        lower = {name.lower().replace(" ", "_"): name for name in self.columns}
        return next((lower[name] for name in _KEYS if name in lower), None)

    def text(self, column: str) -> "pd.Series[str]":
        """The known cells of a column, as text."""
        return as_text(self.frame[column]).dropna()

    def numbers(self, column: str) -> "pd.Series[float]":
        """The numbers of a column; empty unless nearly all known cells are."""
        known = self.text(column)
        values = numbers(known.astype(object), self.dialect.get("decimal", ".")).astype(float).dropna()
        return values if len(values) >= 0.9 * max(1, len(known)) else values.iloc[:0]

    def key_fields(self, key: str) -> dict[str, Any]:
        """How a declaration names the patient of a row."""
        named: dict[str, Any] = {} if key == "patient_id" else {"key": key}
        cells = self.text(key)
        if len(cells) and cells.map(lambda cell: _TCGA.match(cell) is not None and len(cell) > 12).all():
            named["key_pattern"] = r"(TCGA-\w{2}-\w{4})-\d\d"
        return named


def glances(folder: Path) -> tuple[list[Glance], list[str]]:
    """The tables of a folder and of those directly below it, and what could not be read of them."""
    read: list[Glance] = []
    questions = []
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        name = path.name.lower().removesuffix(".gz")
        if path.is_file() and name.endswith(_SUFFIXES) and not path.name.startswith("."):
            try:
                read.append(_glance(path, path.relative_to(folder).as_posix()))
            except DataError as error:
                line = " ".join(str(error).removeprefix(f"{folder}/").split())
                questions.append(f"{line} Is it a table of patients?")
    return read, questions


def _glance(path: Path, name: str) -> Glance:
    kind = f".{path.name.lower().removesuffix('.gz').rpartition('.')[2]}"
    if kind not in DELIMITERS:
        return Glance(name, read_frame(path).frame.iloc[:_LINES])
    text, dialect = _head(path)
    delimiter = DELIMITERS[kind]
    header = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    other = max((";", "\t", ",", "|"), key=header.count)
    if header.count(delimiter) == 0 and header.count(other):
        delimiter = dialect["delimiter"] = other
    if delimiter == ";" and re.search(r";\d+,\d+(;|$)", text, re.MULTILINE):
        dialect["decimal"] = ","
    shape = layout(path, text, delimiter, _KEYS)
    return Glance(name, read_text(path, text, shape, delimiter, None), shape.comments, dialect)


def _head(path: Path) -> tuple[str, dict[str, str]]:
    """The first lines of a text file, and its encoding where that has to be declared."""
    lines = []
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            for line in file:
                lines.append(line)
                if len(lines) == _LINES:
                    break
    except (EOFError, OSError, zlib.error):
        lines = lines[:-1]  # validation says what is wrong
    content = b"".join(lines).removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode("utf-8"), {}
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace"), {"encoding": "cp1252"}
