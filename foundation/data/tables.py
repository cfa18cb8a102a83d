"""A table's declaration, and the table read by it: columns renamed, codes translated, keyed by patient."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from foundation.data.problems import refuse
from foundation.data.table_files import KEY, as_text, read_frame

_WHOLE = r"^([+-]?\d+)\.0+$"  # one exporter writes a code as 1, the next as 1.0


def _word(value: Any) -> Any:
    """YAML reads unquoted `NO`, `off` and `yes` as booleans: nobody means that in a list of codes."""
    if isinstance(value, bool):
        raise ValueError("YAML reads this word as true or false; put it in quotes")
    return re.sub(_WHOLE, r"\1", str(value)) if isinstance(value, int | float | str) else value


Word = Annotated[str, BeforeValidator(_word)]


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    if groups > 1:
        raise ValueError("more than one group; use (?:...) for all but the one that counts")
    return pattern


Pattern = Annotated[str, AfterValidator(_one_group)]


class Strict(BaseModel):
    """A part of a declaration; a field that nobody reads is refused, and numbers may stand for words."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, coerce_numbers_to_str=True)


class ColumnSource(Strict):
    """One column: the cell as the hospital writes it → the value that is kept.

    Numbers are kept as `cell * scale + offset`.

    Args:
        source: the column's name in the file (`from` in YAML); its own if empty.
        values: every cell that occurs → its value; cells that it lacks are refused.
        missing: cells that mean unknown.
        scale: factor, for another unit.
        offset: added after it.
        nonpositive_missing: whether zero and below mean unknown.
        or_else: another column, which says the value where this one does not.
    """

    source: str = Field("", alias="from")
    values: dict[Word, str | int | float] | None = None
    missing: list[Word] = []
    scale: float = 1.0
    offset: float = 0.0
    nonpositive_missing: bool = False
    or_else: "ColumnSource | None" = None


class TableSource(Strict):
    """One table of a hospital.

    Args:
        file: in the hospital's folder.
        key: column that names the patient.
        key_pattern: regular expression whose group (or whole match) is the patient, where the key holds more, such as
            a sample's barcode.
        columns: name → where it comes from; a plain text is the column's name in the file. All columns, as they are,
            if None.
        missing: cells that mean unknown, in any column.
        where: column of the file → cells of the rows that are kept.
    """

    file: str
    key: str = KEY
    key_pattern: Pattern | None = None
    columns: dict[str, ColumnSource] | None = None
    missing: list[Word] = []
    where: dict[str, list[Word]] = {}

    @field_validator("columns", mode="before")
    @classmethod
    def _plain_names(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            return columns
        return {name: {"from": column} if isinstance(column, str) else column for name, column in columns.items()}


def read_source(folder: Path, source: TableSource, unique: bool = True) -> pd.DataFrame:
    """A table as declared.

    Args:
        folder: the hospital's.
        source: the table's declaration.
        unique: whether a patient may stand only once.

    Returns:
        `[rows, columns]` in the declared order, indexed by `patient_id` (text). Columns are numbers where every cell
        is one, else text.

    Raises:
        DataError: if the file cannot be read, lacks a column, or holds a row without patient, a patient twice, a code
            that is not declared, or text where a number is converted.
    """
    path = folder / source.file
    if not path.is_file():
        raise refuse(
            path, "missing", nearest(path.name, (other.name for other in path.parent.glob("*.*")), "put it there")
        )
    columns = source.columns
    coded = [field for name, column in (columns or {}).items() for field in _coded(name, column)]
    frame = read_frame(path, {source.key, *source.where, *coded})
    for name in (source.key, *source.where):
        _require(path, frame, name)
    frame = _keep(path, frame, source.where)
    key = _patients(path, as_text(frame[source.key]), source)
    if unique:
        _refuse_twice(path, key, source.key)
    if columns is None:
        columns = {str(name): ColumnSource() for name in frame.columns if name != source.key}
    converted = {name: _column(path, frame, name, column, source.missing) for name, column in columns.items()}
    return pd.DataFrame(converted, index=frame.index).set_index(pd.Index(key.to_numpy(dtype=object), name=KEY))


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """Advice: the known word most like this one, letter case aside; `otherwise` where none is."""
    by_fold = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return f"did you mean '{by_fold[close[0]]}'? else {otherwise}" if close else otherwise


def _require(path: Path, frame: pd.DataFrame, name: str) -> None:
    if name not in frame.columns:
        names = [str(column) for column in frame.columns]
        listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        advice = nearest(name, names, "add it, or declare the name that it has")
        raise refuse(path, f"no such column among {listed}", advice, field=name)


def _keep(path: Path, frame: pd.DataFrame, where: dict[str, list[str]]) -> pd.DataFrame:
    for name, words in where.items():
        cells = _codes(frame[name])
        kept = frame[cells.isin(words)]
        if len(frame) and kept.empty:
            finding = f"no row holds {' or '.join(words)}"
            raise refuse(
                path, finding, "mend `where` in the declaration", field=name, value=cells.dropna().iloc[:1].squeeze()
            )
        frame = kept
    return frame


def _patients(path: Path, key: "pd.Series[str]", source: TableSource) -> "pd.Series[str]":
    if key.isna().any():
        raise refuse(path, "empty", "every row needs its patient", field=source.key, row=_first(key.isna()))
    if source.key_pattern is None:
        return key
    patient = key.str.extract(with_group(source.key_pattern), expand=False)
    lost = patient.isna() | (patient == "")
    if lost.any():
        row = _first(lost)
        finding = f"key_pattern {source.key_pattern} does not match"
        raise refuse(path, finding, "mend the cell or the pattern", field=source.key, row=row, value=key[row])
    return patient


def with_group(pattern: str) -> str:
    """The pattern with its group, which is the whole match where it has none."""
    return pattern if re.compile(pattern).groups else f"({pattern})"


def _refuse_twice(path: Path, key: "pd.Series[str]", field: str) -> None:
    twice = key.duplicated()
    if twice.any():
        row = _first(twice)
        finding = f"patient stands in row {_first(key == key[row])} already"
        raise refuse(path, finding, "keep one row a patient", field=field, row=row, value=key[row])


def _coded(name: str, column: ColumnSource | None) -> list[str]:
    """Columns of the file whose cells are codes, to be read as text."""
    if column is None:
        return []
    return ([column.source or name] if column.values is not None else []) + _coded(name, column.or_else)


def _column(path: Path, frame: pd.DataFrame, name: str, column: ColumnSource, missing: list[str]) -> "pd.Series[Any]":
    cells = _own_cells(path, frame, name, column, missing)
    return cells if column.or_else is None else cells.fillna(_column(path, frame, name, column.or_else, missing))


def _own_cells(
    path: Path, frame: pd.DataFrame, name: str, column: ColumnSource, missing: list[str]
) -> "pd.Series[Any]":
    field = column.source or name
    _require(path, frame, field)
    cells = frame[field]
    if column.values is not None:
        return _translate(path, _codes(cells), field, column.values, [*missing, *column.missing])
    cells = _without(cells, [*missing, *column.missing])
    if (column.scale, column.offset, column.nonpositive_missing) == (1.0, 0.0, False):
        return cells
    numbers = pd.to_numeric(cells, errors="coerce")
    text = numbers.isna() & cells.notna()
    if text.any():
        row = _first(text)
        advice = "write a number, or declare the cell as missing"
        raise refuse(path, "text where numbers are converted", advice, field=field, row=row, value=cells[row])
    if column.nonpositive_missing:
        numbers = numbers.where(numbers > 0)
    return numbers * column.scale + column.offset


def _without(cells: "pd.Series[Any]", missing: list[str]) -> "pd.Series[Any]":
    """Cells less those that mean unknown; numbers where all that stay are."""
    if cells.dtype != object:
        words = pd.to_numeric(pd.Series(missing, dtype=object), errors="coerce").dropna()
        return cells.mask(cells.isin(words)) if len(words) else cells
    text = cells.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
    text = text.mask(_codes(cells).isin(missing) | (text == ""))
    numbers = pd.to_numeric(text, errors="coerce")
    return numbers if (numbers.notna() == text.notna()).all() else text


def _translate(
    path: Path, cells: "pd.Series[str]", field: str, values: dict[str, str | int | float], missing: list[str]
) -> "pd.Series[Any]":
    cells = cells.mask(cells.isin(missing))
    unknown = cells.notna() & ~cells.isin(list(values))
    if unknown.any():
        row = _first(unknown)
        advice = nearest(cells[row], values, "add it to the column's values or missing in the declaration")
        raise refuse(path, f"none of {', '.join(values)}", advice, field=field, row=row, value=cells[row])
    translated = cells.map(values)
    return translated if any(isinstance(value, str) for value in values.values()) else pd.to_numeric(translated)


def _codes(cells: "pd.Series[Any]") -> "pd.Series[str]":
    text = as_text(cells)
    return text.str.replace(_WHOLE, r"\1", regex=True) if text.notna().any() else text


def _first(mask: "pd.Series[bool]") -> int:
    return int(mask.idxmax())
