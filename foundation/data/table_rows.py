"""A delimited table by patient, as text: compared and cut without a look at its cells."""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.data.delimited import DELIMITERS, delimiter_of, layout
from foundation.data.dialect import Dialect
from foundation.data.strict import with_group
from foundation.data.table_files import NAMELESS, read_bytes
from foundation.data.tables import TableSource

DIGEST_BYTES = 8
_HEAD = 1 << 22  # characters in which a header is looked for


@dataclass(frozen=True)
class ByRows:
    """A source whose file is a delimited table of rows that each belong to one patient.

    Attributes:
        path: of the file.
        dialect: how it is written.
        key: column that names the patient.
        key_pattern: regular expression whose group is the patient, where the key holds more.
        moved: the same source for another file, of UTF-8.
    """

    path: Path
    dialect: Dialect
    key: str
    key_pattern: str | None
    moved: Callable[[Path], Any]


@dataclass(frozen=True)
class RowTable:
    """A table's text, cut by patient.

    Attributes:
        head: the header's line and what stands above it.
        rows: of each patient, in the file's order.
    """

    head: str
    rows: dict[str, str]

    def only(self, patients: Collection[str]) -> str:
        """The same table with those patients' rows alone."""
        return "".join([self.head, *(rows for patient, rows in self.rows.items() if patient in patients)])

    def digests(self, salt: str) -> dict[str, int]:
        """By patient, 64 bits of BLAKE2b (RFC 7693) over the head and the patient's rows."""
        base = hashlib.blake2b(f"{salt}\n{self.head}".encode(), digest_size=DIGEST_BYTES)
        digests = {}
        for patient, rows in self.rows.items():
            whole = base.copy()
            whole.update(rows.encode())
            digests[patient] = int.from_bytes(whole.digest(), "little")
        return digests


def readable(path: Path) -> bool:
    """Whether a file's name is that of a delimited table."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:]
    return path.is_file() and bool(kind) and kind[0] in DELIMITERS


def table_by_rows(source: TableSource, folder: Path) -> ByRows | None:
    """How a declared table is cut; None where its file is of another format."""
    path = folder / source.file
    if not readable(path):
        return None

    def moved(to: Path) -> TableSource:
        return source.model_copy(update={"file": str(to), "encoding": "utf-8"})

    return ByRows(path, source, source.key, source.key_pattern, moved)


def read_rows(source: ByRows) -> RowTable | None:
    """A source's table by patient; None where its rows cannot be told apart so, and it has to be read whole.

    Raises:
        DataError: if the file is no text of its encoding, or has no header.
    """
    content = read_bytes(source.path, source.dialect.encoding)
    start = content[:_HEAD].decode("utf-8", errors="ignore")  # of the last character, where it is cut
    start = start[: start.rfind("\n") + 1] if len(content) > _HEAD else start
    layout = _layout(source, start or content.decode("utf-8")) if start else None
    return None if layout is None else layout.cut(content.decode("utf-8")[len(layout.head) :])


def read_added_rows(source: ByRows, after: int) -> RowTable | None:
    """The same of the rows that stand after a part of the file whose rows are known: that part is passed by.

    Args:
        source: how it is cut; a file of UTF-8.
        after: bytes of that part, which ends with a line.

    Returns:
        None also where what was added is no text: reading the file whole names the row.

    Raises:
        DataError: if the file has no header.
    """
    with source.path.open("rb") as file:
        start = file.read(min(after, _HEAD)).decode("utf-8", errors="ignore")
        file.seek(after)
        added = file.read()
    try:
        body = added.decode("utf-8")
    except UnicodeDecodeError:
        return None
    layout = _layout(source, start[: start.rfind("\n") + 1])
    return None if layout is None or "\0" in body else layout.cut(body)


@dataclass(frozen=True)
class _RowLayout:
    """A table's head, and how a row tells its patient."""

    head: str
    delimiter: str
    place: int
    pattern: re.Pattern[str] | None

    def cut(self, body: str) -> RowTable | None:
        """Rows by patient; None where one names none."""
        if body.count("\r") != body.count("\r\n"):
            return None
        by_patient: dict[str, list[str]] = defaultdict(list)
        try:
            for record, cell in _records(body, self.delimiter, self.place):
                match = None if self.pattern is None else self.pattern.search(cell)
                patient = cell if self.pattern is None else (match[1] if match else "")
                if not patient:
                    return None
                by_patient[patient].append(record)
        except csv.Error:  # reading the table whole names the row
            return None
        return RowTable(self.head, {patient: "".join(rows) for patient, rows in by_patient.items()})


def _layout(source: ByRows, start: str) -> _RowLayout | None:
    """By the first lines of a file; None where its rows cannot be told apart by patient."""
    path = source.path
    suffixes = [suffix.lower() for suffix in path.suffixes]
    delimiter = delimiter_of(suffixes[-2] if suffixes[-1] == ".gz" else suffixes[-1], source.dialect)
    shape = layout(path, start, delimiter, (source.key,), source.dialect.row_names)
    counts = NAMELESS.fullmatch(shape.header[0]) and source.key != shape.header[0]  # rows, which parts would belie
    if shape.described or counts or shape.header.count(source.key) != 1:
        return None
    place = shape.header.index(source.key)
    pattern = None if source.key_pattern is None else re.compile(with_group(source.key_pattern))
    header = start[shape.start : start.find("\n", shape.start) + 1]
    if '"' in header or not header:  # which may hold line breaks, or is all there is
        header = next(_records(start[shape.start :], delimiter, place), ("", ""))[0]
    return _RowLayout(start[: shape.start] + header, delimiter, place, pattern)


def _records(text: str, delimiter: str, place: int) -> Iterator[tuple[str, str]]:
    return _quoted(text, delimiter, place) if '"' in text else _plain(text, delimiter, place)


def _plain(text: str, delimiter: str, place: int) -> Iterator[tuple[str, str]]:
    """Rows of a table without quotes, each with the cell at `place`; blank ones are left out."""
    for line in text.split("\n"):
        if line.strip():
            cells = line.split(delimiter, place + 1)
            yield f"{line}\n", cells[place].strip() if place < len(cells) else ""


def _quoted(text: str, delimiter: str, place: int) -> Iterator[tuple[str, str]]:
    """The same where cells may be quoted, and hold line breaks."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    lines = [f"{line}\n" for line in text.split("\n")]
    reader, start = csv.reader(lines, delimiter=delimiter, strict=True), 0
    for cells in reader:
        record, start = "".join(lines[start : reader.line_num]), reader.line_num
        if record.strip():
            yield record, cells[place].strip() if place < len(cells) else ""
