"""Table files as hospitals have them: CSV, TSV, Parquet and JSON lines, read whole or refused in one line."""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.delimited import DELIMITERS, check_names, delimiter_of, layout, read_numbers, read_text
from foundation.data.dialect import Dialect
from foundation.data.problems import refuse

KEY = "patient_id"
COUNTER = "a column without a name, which counts rows, left out; its cells"
_ENCODING_ADVICE = "save it with UTF-8 encoding, or say encoding: cp1252 (or what it is) in the declaration"
LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
NAMELESS = re.compile(r"(?:Unnamed: 0)?")  # an index that pandas wrote, or read and wrote again
_EXACT = 2**53  # beyond it a float skips whole numbers
_MAGIC = {
    b"PK\x03\x04": ("an Excel workbook or ZIP archive", "save the sheet as CSV UTF-8"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV UTF-8"),
    b"PAR1": ("a Parquet file", "name it .parquet"),
    b"\x1f\x8b": ("a gzip file", "add .gz to its name"),
    b"%PDF": ("a PDF document", "export the table itself as CSV UTF-8"),
    b"\xff\xfe": ("UTF-16 text", "save it as CSV UTF-8, or say encoding: utf-16"),
    b"\xfe\xff": ("UTF-16 text", "save it as CSV UTF-8, or say encoding: utf-16"),
    b"<!DOCTYPE": ("a web page", "fetch the file again; portals answer so when a login is missing"),
    b"<html": ("a web page", "fetch the file again; portals answer so when a login is missing"),
}


@dataclass(frozen=True)
class Reading:
    """What of a table is read.

    Attributes:
        keys: columns that name patients, genes or codes: text, whatever they hold.
        wanted: columns that are kept; all if None.
        numbers: whether the other cells are numbers, so many that each is parsed but once.
    """

    keys: Collection[str] = (KEY,)
    wanted: Collection[str] | None = None
    numbers: bool = False


@dataclass(frozen=True)
class FileTable:
    """A table, as a file holds it.

    Attributes:
        frame: `[rows, columns]`; the index is each row's number in the file (the header being row 1 where nothing
            stands above it; JSON lines and Parquet, which have none, count from 1).
        comments: lines above the header, left out.
        annotations: columns that the file itself says describe rows.
        names: of all columns, read or not, but for a nameless one that counts rows.
        counter: whether there was one.
    """

    frame: pd.DataFrame
    names: list[str]
    comments: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    counter: bool = False


_ALL = Reading()
_PLAIN = Dialect()


def read_frame(path: Path, dialect: Dialect = _PLAIN, reading: Reading = _ALL) -> FileTable:
    """A table, columns as they stand in the file.

    Blank cells are missing, and no word is. Cells of text files are text exactly as written, but for `numbers`; those
    of JSON lines and Parquet have their own types.

    Args:
        path: `.csv` (comma), `.tsv`, `.txt` or `.gct` (tab), `.jsonl` or `.ndjson`, these also with `.gz`; `.parquet`.
        dialect: how the hospital writes it.
        reading: what is read.

    Raises:
        DataError: if the file is missing, damaged, empty, of another format or encoding than its name says, or if it
            has ragged rows, columns of one name, or lines that are no flat JSON objects.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = ["", *suffixes][-2 if zipped else -1]
    if kind not in (*DELIMITERS, *LINES, *PARQUET) or (zipped and kind in PARQUET):
        known = ", ".join((*DELIMITERS, *LINES))
        raise refuse(path, f"no table format '{kind}'", f"save it as {known} (each also .gz) or .parquet")
    if not path.is_file():
        raise refuse(path, "missing", "put the file there, or declare where the table lies")
    if kind in PARQUET:
        return _kept(_parquet(path), reading)
    content = read_bytes(path, dialect.encoding)
    return _kept(_lines(path, content), reading) if kind in LINES else _delimited(path, content, kind, dialect, reading)


def _kept(frame: pd.DataFrame, reading: Reading) -> FileTable:
    names = [name for name in frame.columns if reading.wanted is None or name in reading.wanted]
    return FileTable(frame[names], [str(name) for name in frame.columns])


def read_bytes(path: Path, encoding: str = "utf-8") -> bytes:
    """A text file's bytes in UTF-8 without byte order mark, unpacked if its name ends in `.gz`.

    Raises:
        DataError: if it is unreadable, truncated, empty, or holds something other than text of that encoding.
    """
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content) if content else content
    except (EOFError, zlib.error) as error:
        raise refuse(path, f"truncated or damaged gzip ({error})", "copy or export the file again") from error
    except OSError as error:
        raise refuse(path, f"not readable ({error})", "copy or export the file again") from error
    if encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        return _decoded(path, content, encoding).encode()
    content = content.removeprefix(b"\xef\xbb\xbf")
    for magic, (finding, advice) in _MAGIC.items():
        if content.lstrip()[: len(magic)].lower() == magic.lower():
            raise refuse(path, f"is {finding}, not what its name says", advice)
    if not content.strip():
        raise refuse(path, "empty file", "export it again, or remove it")
    if b"\0" in content:
        raise refuse(path, "binary, not text", "export it as UTF-8 text")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        byte = f"0x{content[error.start]:02x}"
        raise refuse(path, "not UTF-8 text", _ENCODING_ADVICE, row=row, value=f"byte {byte}") from error
    return content


def _decoded(path: Path, content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        raise refuse(path, f"not text of encoding {encoding} ({error})", "declare the right one", "encoding") from error
    if not text.strip():
        raise refuse(path, "empty file", "export it again, or remove it")
    if "\0" in text:
        raise refuse(path, "binary, or of another encoding", "declare the right one", field="encoding")
    return text


def _delimited(path: Path, content: bytes, kind: str, dialect: Dialect, reading: Reading) -> FileTable:
    text, delimiter = content.decode("utf-8"), delimiter_of(kind, dialect)
    shape = layout(path, text, delimiter, reading.keys, dialect.row_names)
    check_names(path, shape.header)
    if reading.numbers and dialect.thousands is None:
        frame = read_numbers(path, text, shape, delimiter, reading.keys, dialect)
    else:
        nameless = {name for name in shape.header[:1] if NAMELESS.fullmatch(name)}
        wanted = None if reading.wanted is None else {*reading.wanted, *nameless}
        frame = read_text(path, text, shape, delimiter, wanted)
    table = FileTable(frame, shape.header, shape.comments, shape.annotations)
    return _without_counter(table, reading)


def _without_counter(table: FileTable, reading: Reading) -> FileTable:
    """The table less a first column without a name that counts its rows, as pandas writes an index."""
    first = table.names[0]
    if not NAMELESS.fullmatch(first) or first in reading.keys:
        return table
    count = as_text(table.frame[first]).tolist()
    counts = any(count == [str(number) for number in range(start, start + len(count))] for start in (0, 1))
    if not counts and (reading.wanted is None or first in reading.wanted):
        return table
    return replace(table, frame=table.frame.drop(columns=first), names=table.names[1:], counter=counts)


def _lines(path: Path, content: bytes) -> pd.DataFrame:
    objects: list[dict[str, Any]] = []
    rows: list[int] = []
    for number, line in enumerate(content.decode("utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        value = read_json(path, line, number)
        if not isinstance(value, dict):
            raise refuse(path, f"line holds a {type(value).__name__}, no object", "write one {...} a line", row=number)
        for name, cell in value.items():
            if isinstance(cell, list | dict):
                raise refuse(path, "nested value", "write flat objects", field=name, row=number, value=cell)
        objects.append(value)
        rows.append(number)
    frame = pd.DataFrame(objects, pd.Index(rows, name="row"), dtype=object)  # a float would round long identifiers
    return _typed(frame)


def read_json(path: Path, text: str, row: int | None = None) -> Any:
    """A JSON value, in which no object says one thing twice.

    Raises:
        DataError: if the text is no JSON or a key stands twice; `row` is named.
    """
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        raise refuse(path, f"no JSON ({error})", "export it again; it may be cut off", row=row) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key '{twice}' stands twice in one object")
    return content


_JSON = json.JSONDecoder(object_pairs_hook=_once)


def _parquet(path: Path) -> pd.DataFrame:
    size = path.stat().st_size
    if not size:
        raise refuse(path, "empty file", "export it again, or remove it")
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(max(size - 4, 0))
        tail = file.read(4)
    if head != b"PAR1":
        raise refuse(path, "no Parquet file, whatever its name says", "name it by its format, or export it again")
    if tail != b"PAR1":
        raise refuse(path, "truncated Parquet file", "copy or export the file again")
    import pyarrow as pa  # who reads no Parquet, such as a served model that knows genes, goes without
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            check_names(path, file.schema_arrow.names)
            for column in file.schema_arrow:
                if pa.types.is_nested(column.type):
                    raise refuse(path, "nested column", "write one value a cell", field=column.name, value=column.type)
            frame = file.read().to_pandas(ignore_metadata=True, integer_object_nulls=True)
            frame = frame.drop(columns="__index_level_0__", errors="ignore")
    except (pa.ArrowException, OSError) as error:
        raise refuse(path, f"damaged Parquet file ({error})", "copy or export the file again") from error
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return _typed(frame)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({str(name): _typed_column(frame[name]) for name in frame.columns}, frame.index)


def _typed_column(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers where every cell is a number that floats hold exactly, else the cells as they are; blanks are missing."""
    if cells.dtype not in ("object", "category"):
        return cells
    blank = cells.map(lambda cell: isinstance(cell, str) and not cell.strip()).astype(object).eq(True)
    plain = cells.astype(object).mask(blank)
    known = plain.dropna()
    exact = known.map(lambda cell: isinstance(cell, float) or (type(cell) is int and abs(cell) <= _EXACT))
    if not len(known) or not exact.all():
        return plain.where(plain.notna(), None)
    whole = len(known) == len(plain) and known.map(lambda cell: isinstance(cell, int)).all()
    return plain.astype(int if whole else float)


def as_text(cells: "pd.Series[Any]") -> "pd.Series[str]":
    """Cells as text without surrounding blanks; whole numbers without `.0`; what is missing or blank stays missing."""
    if cells.dtype != object or not cells.map(lambda cell: isinstance(cell, str), na_action="ignore").all():
        cells = cells.map(_plain, na_action="ignore")
    text = cells.astype(object).str.strip() if cells.notna().any() else cells.astype(object)
    return text.mask(text.isna() | (text == ""), None)


def _plain(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
