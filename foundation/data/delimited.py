"""Delimited text: its header below what stands above it, and its cells as text, or as numbers where there are many."""

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.dialect import Dialect
from foundation.data.problems import refuse

DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".gct": "\t", ".maf": "\t"}
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


@dataclass(frozen=True)
class Layout:
    """What a file's lines are.

    Attributes:
        header: names of the columns, without surrounding blanks.
        start: characters before the header's line.
        line: number of the header's line.
        comments: lines above it, left out.
        annotations: columns that a GCT file says describe its rows.
        described: rows below the header that a GCT file says describe its columns.
    """

    header: list[str]
    start: int
    line: int
    comments: list[str]
    annotations: list[str]
    described: int


def delimiter_of(kind: str, dialect: Dialect) -> str:
    """As declared, or by the file's ending."""
    return dialect.delimiter or DELIMITERS[kind]


def layout(path: Path, text: str, delimiter: str, keys: Collection[str], row_names: bool = False) -> Layout:
    """Finds the header: the first line that is no comment (`#`), or the last comment if it names a key.

    Args:
        path: of the file, for messages.
        text: of the file.
        delimiter: between cells.
        keys: columns that name patients, genes or codes.
        row_names: whether rows begin with a cell that the header lacks.

    Raises:
        DataError: if the file has no header.
    """
    comments, start, last = [], 0, 0
    for line in _lines(text):
        if line.strip() and not line.startswith("#"):
            break
        if line.strip():
            comments.append(line.strip())
            last = start
        start += len(line)
    names = [cell.strip() for cell in comments[-1].lstrip("#").split(delimiter)] if comments else []
    if any(key in names for key in keys):
        return Layout(names, last, text.count("\n", 0, last) + 1, comments[:-1], [], 0)
    gct = re.match(r"#1\.([23])\b", comments[0]) if comments else None
    annotations, described = 0, 0
    if gct is not None:
        dimensions = next(_lines(text[start:]), "")
        counts = dimensions.split()
        if not all(count.isdigit() for count in counts) or len(counts) != (2 if gct[1] == "2" else 4):
            raise refuse(path, "no dimensions in the second line of a GCT file", "export it again", value=dimensions)
        annotations, described = (1, 0) if gct[1] == "2" else (int(counts[2]), int(counts[3]))
        comments.append(dimensions.strip())
        start += len(dimensions)
    if start >= len(text):
        raise refuse(path, "no header, comments alone", "export it again")
    cells = next(_cells(path, text[start:], delimiter, 0), (1, []))[1]
    names = [*([""] if row_names else []), *(cell.strip() for cell in cells)]
    _check_delimiter(path, names, delimiter)
    check_names(path, names)
    return Layout(names, start, text.count("\n", 0, start) + 1, comments, names[1 : 1 + annotations], described)


def read_text(path: Path, text: str, shape: Layout, delimiter: str, wanted: Collection[str] | None) -> pd.DataFrame:
    """Cells exactly as written, None where blank; the index is each row's number in the file.

    Args:
        path: of the file, for messages.
        text: of the file.
        shape: of it.
        delimiter: between cells.
        wanted: columns that are kept; all if None.
    """
    places = [place for place, name in enumerate(shape.header) if wanted is None or name in wanted]
    columns: list[list[str | None]] = [[] for _ in places]
    rows: list[int] = []
    for row, cells in _rows(path, text, shape, delimiter):
        rows.append(row)
        for column, place in zip(columns, places, strict=True):
            cell = cells[place]
            column.append(cell if cell.strip() else None)
    named = {shape.header[place]: column for place, column in zip(places, columns, strict=True)}
    return pd.DataFrame(named, index=pd.Index(rows, name="row"), dtype=object)


def read_numbers(
    path: Path, text: str, shape: Layout, delimiter: str, words: Collection[str], dialect: Dialect
) -> pd.DataFrame:
    """Cells as numbers, in the columns where all are, by a parser that is fast and exact.

    Args:
        path: of the file, for messages.
        text: of the file.
        shape: of it.
        delimiter: between cells.
        words: columns that stay text.
        dialect: decimal sign and missing words.
    """
    rows = [row for row, _ in _rows(path, text, shape, delimiter)]
    _check_point(path, text[shape.start :], dialect)
    frame = pd.read_csv(
        io.StringIO(text[shape.start :]),
        sep=delimiter,
        header=0,
        names=shape.header,
        index_col=False,
        dtype={name: str for name in words if name in shape.header},
        keep_default_na=False,
        na_values=["", *dialect.missing],
        decimal=dialect.decimal_sign,
        float_precision="round_trip",
        low_memory=False,
    )
    frame = frame.iloc[shape.described :]
    if len(frame) != len(rows):
        raise refuse(path, f"{len(rows)} or {len(frame)} rows, as one counts", "remove rows of blanks in quotes")
    return frame.set_axis(pd.Index(rows, name="row"), axis=0)


def _check_point(path: Path, text: str, dialect: Dialect) -> None:
    """Refuses a table in which every number with a point may be one of thousands."""
    if dialect.decimal is not None or "." not in text:
        return
    before, after = r"(?:^|[\t,;|])\"?", r"(?=\"?(?:[\t,;|\r\n]|$))"
    decimal = r"[+-]?(?:0?\.[0-9]+|0\.[0-9]*|[0-9]{4,}\.[0-9]+|[0-9]+\.(?:[0-9]{1,2}|[0-9]{4,}))(?:[eE][+-]?[0-9]+)?"
    if re.search(f"{before}{decimal}{after}", text, re.MULTILINE):
        return
    grouped = re.search(rf"{before}([+-]?[1-9][0-9]{{0,2}}(?:\.[0-9]{{3}})+){after}", text, re.MULTILINE)
    if grouped is not None:
        raise refuse(path, AMBIGUOUS, AMBIGUOUS_ADVICE, field="decimal", value=grouped[1])


AMBIGUOUS = "may be thousands or a fraction"
AMBIGUOUS_ADVICE = "say decimal: '.' for a fraction, or decimal: ',' and thousands: '.'"


def _rows(path: Path, text: str, shape: Layout, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, below the header, with its number; ragged rows are refused."""
    width, below = len(shape.header), 0
    first = True
    for row, cells in _cells(path, text[shape.start :], delimiter, shape.line - 1):
        if first:
            first = False
        elif len(cells) != width:
            finding = f"{len(cells)} cells where the header has {width}"
            advice = "quote cells that hold the delimiter or a line break"
            if len(cells) == width + 1:
                advice += ", or say row_names: true if every row begins with a name that the header lacks"
            raise refuse(path, finding, advice, row=row)
        elif below < shape.described:
            below += 1
        else:
            yield row, cells


def _cells(path: Path, text: str, delimiter: str, before: int) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    number = 0
    try:
        lines = io.StringIO(text, newline="")
        for number, cells in enumerate(csv.reader(lines, delimiter=delimiter, strict=True), start=1):
            if cells and (len(cells) > 1 or cells[0] == "" or cells[0].strip()):
                yield number + before, cells
    except csv.Error as error:
        row = number + before + 1
        raise refuse(path, f"quotes do not match ({error})", 'write a quote in a cell as ""', row=row) from error


def _lines(text: str) -> Iterator[str]:
    return iter(io.StringIO(text, newline=""))


def _check_delimiter(path: Path, header: list[str], delimiter: str) -> None:
    for other, name in _NAMES.items():
        if len(header) == 1 and other != delimiter and other in header[0]:
            advice = f"save it with {_NAMES[delimiter]}s, or say delimiter: {other!r}"
            advice += {"\t": ", or name it .tsv", ",": ", or name it .csv"}.get(other, "")
            raise refuse(path, f"is separated by {name}s, not by {_NAMES[delimiter]}s", advice, value=header[0])


def check_names(path: Path, names: Iterable[Any]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            finding = f"{count} columns of this name" if name else f"{count} columns without a name"
            raise refuse(path, finding, "give each column its own name, or remove empty ones", field=name)
