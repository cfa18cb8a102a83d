"""Table files as hospitals have them: CSV, TSV, Parquet and JSON lines, read whole or refused in one line."""

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from foundation.data.problems import refuse

KEY = "patient_id"
DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon"}
_MAGIC = {
    b"PK\x03\x04": ("an Excel workbook or ZIP archive", "save the sheet as CSV UTF-8"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV UTF-8"),
    b"PAR1": ("a Parquet file", "name it .parquet"),
    b"\x1f\x8b": ("a gzip file", "add .gz to its name"),
    b"%PDF": ("a PDF document", "export the table itself as CSV UTF-8"),
    b"\xff\xfe": ("UTF-16 text", "save it as CSV UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as CSV UTF-8"),
    b"<!DOCTYPE": ("a web page", "fetch the file again; portals answer so when a login is missing"),
    b"<html": ("a web page", "fetch the file again; portals answer so when a login is missing"),
}


def read_frame(path: Path, text_columns: Collection[str] = (KEY,)) -> pd.DataFrame:
    """A table, columns as they stand in the file.

    Empty cells and the words that pandas takes for missing (`NA`, `nan`, `null` …) are missing. Dates stay text.

    Args:
        path: `.csv` (comma), `.tsv` or `.txt` (tab), `.jsonl` or `.ndjson`, these also with `.gz`; `.parquet`.
        text_columns: read as text, so that `007` stays `007`; those the file lacks are passed over.

    Returns:
        `[rows, columns]`; the index is each row's number in the file (the header being row 1; JSON lines and Parquet,
        which have none, count from 1).

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
        return _parquet(path, text_columns)
    content = read_bytes(path)
    return _lines(path, content, text_columns) if kind in LINES else _delimited(path, content, kind, text_columns)


def read_bytes(path: Path) -> bytes:
    """A text file's bytes in UTF-8 without byte order mark, unpacked if its name ends in `.gz`.

    Raises:
        DataError: if it is unreadable, truncated, empty, or holds something other than UTF-8 text.
    """
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content) if content else content
    except (EOFError, zlib.error) as error:
        raise refuse(path, f"truncated or damaged gzip ({error})", "copy or export the file again") from error
    except OSError as error:
        raise refuse(path, f"not readable ({error})", "copy or export the file again") from error
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
        raise refuse(path, "not UTF-8 text", "save it with UTF-8 encoding", row=row, value=f"byte {byte}") from error
    return content


def _delimited(path: Path, content: bytes, kind: str, text_columns: Collection[str]) -> pd.DataFrame:
    delimiter = DELIMITERS[kind]
    header, rows = _records(path, content, delimiter)
    _check_names(path, header)
    frame = pd.read_csv(
        io.BytesIO(content),
        sep=delimiter,
        header=0,
        names=header,
        index_col=False,
        dtype={name: str for name in text_columns if name in header},
        low_memory=False,
    )
    if len(frame) != len(rows):
        raise refuse(path, f"{len(rows)} or {len(frame)} rows, as one counts", "remove rows of blanks in quotes")
    frame.index = pd.Index(rows, name="row")
    return frame


def _records(path: Path, content: bytes, delimiter: str) -> tuple[list[str], list[int]]:
    """The header and the number of every row that is not blank; pandas pads short rows in silence."""
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    header: list[str] = []
    rows: list[int] = []
    number = 0
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    try:
        for number, cells in enumerate(csv.reader(text, delimiter=delimiter, strict=True), start=1):
            if not cells or (len(cells) == 1 and cells[0] != "" and not cells[0].strip()):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                _check_delimiter(path, header, delimiter)
            elif len(cells) != len(header):
                finding = f"{len(cells)} cells where the header has {len(header)}"
                raise refuse(path, finding, "quote cells that hold the delimiter or a line break", row=number)
            else:
                rows.append(number)
    except csv.Error as error:
        raise refuse(path, f"quotes do not match ({error})", 'write a quote in a cell as ""', row=number + 1) from error
    return header, rows


def _check_delimiter(path: Path, header: list[str], delimiter: str) -> None:
    for other, name in _NAMES.items():
        if len(header) == 1 and other != delimiter and other in header[0]:
            advice = f"save it with {_NAMES[delimiter]}s" + (", or name it .tsv" if other == "\t" else "")
            if other == ",":
                advice += ", or name it .csv"
            raise refuse(path, f"is separated by {name}s, not by {_NAMES[delimiter]}s", advice, value=header[0])


def _check_names(path: Path, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            finding = f"{count} columns of this name" if name else f"{count} columns without a name"
            raise refuse(path, finding, "give each column its own name, or remove empty ones", field=name)


def _lines(path: Path, content: bytes, text_columns: Collection[str]) -> pd.DataFrame:
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
    frame = pd.DataFrame(objects, index=pd.Index(rows, name="row"))
    return _as_text(frame, text_columns)


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


def _parquet(path: Path, text_columns: Collection[str]) -> pd.DataFrame:
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
    try:
        with pq.ParquetFile(path) as file:
            _check_names(path, file.schema_arrow.names)
            for field in file.schema_arrow:
                if pa.types.is_nested(field.type):
                    raise refuse(path, "nested column", "write one value a cell", field=field.name, value=field.type)
            frame = file.read().to_pandas(ignore_metadata=True).drop(columns="__index_level_0__", errors="ignore")
    except (pa.ArrowException, OSError) as error:
        raise refuse(path, f"damaged Parquet file ({error})", "copy or export the file again") from error
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return _as_text(frame, text_columns)


def _as_text(frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
    return frame.assign(**{str(name): as_text(frame[name]) for name in columns if name in frame.columns})


def as_text(cells: "pd.Series[Any]") -> "pd.Series[str]":
    """Cells as text without surrounding blanks; whole numbers without `.0`; what is missing or blank stays missing."""
    if cells.dtype != object or not cells.map(lambda cell: isinstance(cell, str), na_action="ignore").all():
        cells = cells.map(_plain, na_action="ignore")
    text = cells.astype(object).str.strip() if cells.notna().any() else cells.astype(object)
    return text.mask(text.isna() | (text == ""), None)


def _plain(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
