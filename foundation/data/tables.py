"""A table's declaration, and the table read by it: columns renamed, codes translated, keyed by patient."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, field_validator, model_validator

from foundation.data.columns import ColumnSource, Reader, codes, nearest
from foundation.data.landmarks import Landmarks
from foundation.data.problems import Problems, refuse
from foundation.data.provenance import tell_column
from foundation.data.row_rule import RowRule, by_rule, row_dates
from foundation.data.samples import ADVICE, Samples, choose
from foundation.data.strict import Pattern, Word, with_group
from foundation.data.table_files import COUNTER, KEY, Reading, as_text, read_frame
from foundation.data.table_forms import TABLE_FORMS, TableForm, usual_columns


class TableSource(RowRule):
    """One table of a hospital.

    Args:
        file: in the hospital's folder.
        form: of a portal or pipeline, which says key, words for unknown and the like; see `table_forms`.
        key: column that names the patient.
        key_pattern: regular expression whose group (or whole match) is the patient, where the key holds more, such as
            a sample's barcode.
        samples: which row is taken of a patient's several: patterns of the key, the first preferred, or `primary` for
            barcodes of TCGA. Rows that match none are left out.
        columns: name → where it comes from; a plain text is the column's name in the file. All columns, as they are,
            if None, or those that the form says.
        where: column of the file → cells of the rows that are kept.
    """

    file: str
    form: TableForm | None = None
    key: str = KEY
    key_pattern: Pattern | None = None
    samples: Samples | None = None
    columns: dict[str, ColumnSource] | None = None
    where: dict[str, list[Word]] = Field({})

    @model_validator(mode="before")
    @classmethod
    def _of_form(cls, declared: Any) -> Any:
        form = declared.get("form") if isinstance(declared, dict) else None
        return {**TABLE_FORMS[form], **declared} if isinstance(form, str) and form in TABLE_FORMS else declared

    @field_validator("columns", mode="before")
    @classmethod
    def _plain_names(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            return columns
        return {name: {"from": column} if isinstance(column, str) else column for name, column in columns.items()}

    def read_for(self, place: str) -> "TableSource":
        """The same with the columns that its form has for a place, where none are declared."""
        usual = usual_columns(self.form, place)
        if self.columns is not None or usual is None:
            return self
        columns = {name: ColumnSource.model_validate(column) for name, column in usual.items()}
        return self.model_copy(update={"columns": columns})

    @model_validator(mode="after")
    def _one_rule(self) -> "TableSource":
        if self.samples is not None and self.unique is not None:
            raise ValueError("give one of samples and unique")
        return self


@dataclass(frozen=True)
class Kinds:
    """What columns hold, by the names that they get.

    Attributes:
        text: stay text: categories, hospitals, files.
        numbers: hold numbers, or cells that are noted later.
        measured: those of them that measure something rather than code it.
        words: of each categorical column, its declared values: none of them means unknown unless the column says so.
    """

    text: Collection[str] = ()
    numbers: Collection[str] = ()
    measured: Collection[str] = ()
    words: Mapping[str, list[str]] = field(default_factory=dict)


_ANY = Kinds()


def read_source(
    folder: Path,
    source: TableSource,
    unique: bool = True,
    kinds: Kinds = _ANY,
    problems: Problems | None = None,
    landmarks: Landmarks | None = None,
) -> pd.DataFrame:
    """A table as declared.

    Args:
        folder: the hospital's.
        source: the table's declaration.
        unique: whether a patient may stand only once.
        kinds: what columns hold; one that is in neither list is of numbers if every cell plainly is one, else of text.
        problems: takes cells that cannot be read, which are then missing, rows that name no patient or one anew, which
            are then left out, and what else was.
        landmarks: rows dated after them, or not at all, are left out.

    Returns:
        `[rows, columns]` in the declared order, indexed by `patient_id` (text).

    Raises:
        DataError: if the file cannot be read or lacks a column; without `problems`, also if it holds a row without
            patient, a patient twice, a code that is not declared, text where a number is converted, or numbers that may
            be read in two ways.
    """
    path = folder / source.file
    if not path.is_file():
        others = (other.name for other in path.parent.glob("*.*"))
        raise refuse(path, "missing", nearest(path.name, others, "put it there"))
    wanted = None
    if source.columns is not None:
        fields = [one for name, column in source.columns.items() for one in column.fields(name)]
        wanted = {source.key, *source.where, *fields, *([source.date] if source.date else ())}
    table = read_frame(path, source, Reading((source.key,), wanted))
    for name in (source.key, *source.where, *([source.date] if source.date else ()), *sorted(wanted or ())):
        _require(path, table.names, name)
    frame = table.frame
    if problems is not None:
        problems.tell(path, COUNTER, table.counter * len(frame))
    if problems is not None and table.comments:
        finding = f"{len(table.comments)} lines above the header are left out, the first"
        problems.warn(path, finding, "nothing to do, unless they hold data", value=table.comments[0])
    kept_rows = _keep(path, frame, source.where)
    if problems is not None:
        chosen = " and ".join(f"{name} {' or '.join(words)}" for name, words in source.where.items())
        problems.tell(path, f"rows other than {chosen}", len(frame) - len(kept_rows), rows=True)
    frame = kept_rows
    key = _patients(path, as_text(frame[source.key]), source, problems)
    dates = None if source.date is None else row_dates(frame.loc[key.index, source.date], source, path, problems)
    key = _in_time(path, key, dates, source, landmarks, problems)
    frame, dates = frame.loc[key.index], None if dates is None else dates[key.index]
    kept = _one_row(path, frame, key, source, dates, unique)
    if problems is not None:
        rule = "samples" if source.samples is not None else f"unique: {source.unique}"
        problems.tell(path, f"a patient's other rows ({rule})", int((~kept).sum()), source.key, rows=True)
    frame, key = frame[kept], key[kept]
    if unique:
        key = _once(path, key, source.key, problems)
        frame = frame.loc[key.index]
    columns = source.columns
    if columns is None:
        columns = {str(name): ColumnSource() for name in frame.columns if name != source.key}
    fields = [columns[name].source or name for name in kinds.numbers if name in columns]
    reader = Reader(path, source, frame, kinds.text, kinds.numbers, fields, kinds.measured, kinds.words, problems)
    converted = {name: reader.read(name, column) for name, column in columns.items()}
    if problems is not None:
        for name, column in columns.items():
            tell_column(problems, path, name, column, source.missing, frame[column.source or name], converted[name])
    return pd.DataFrame(converted, index=frame.index).set_index(pd.Index(key.to_numpy(dtype=object), name=KEY))


def _require(path: Path, names: list[str], name: str) -> None:
    if name not in names:
        listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        advice = nearest(name, names, "add it, or declare the name that it has")
        raise refuse(path, f"no such column among {listed}", advice, field=name)


def _in_time(
    path: Path,
    key: "pd.Series[str]",
    dates: "pd.Series[pd.Timestamp] | None",
    source: TableSource,
    landmarks: Landmarks | None,
    problems: Problems | None,
) -> "pd.Series[str]":
    """Patients of the rows that were measured before the landmark, where there is one."""
    if landmarks is None or problems is None or source.timeless:
        return key
    if dates is None:
        landmarks.note_undated(path, "rows", problems)
        return key
    return key[landmarks.keep(pd.Index(key), dates, path, "rows", problems)]


def _one_row(
    path: Path,
    frame: pd.DataFrame,
    key: "pd.Series[str]",
    source: TableSource,
    dates: "pd.Series[pd.Timestamp] | None",
    alone: bool,
) -> "pd.Series[bool]":
    """Which rows are taken where a patient has several; `alone`, whether one is."""
    if source.samples is not None:
        return choose(as_text(frame[source.key]), key, source.samples, path, source.key)
    if source.unique == "identical":
        return ~frame.assign(**{source.key: key}).duplicated()
    return key.notna() if source.unique is None else by_rule(key, source.unique, dates, alone)


def _keep(path: Path, frame: pd.DataFrame, where: dict[str, list[str]]) -> pd.DataFrame:
    for name, words in where.items():
        cells = codes(frame[name])
        kept = frame[cells.isin(words)]
        if len(frame) and kept.empty:
            finding = f"no row holds {' or '.join(words)}"
            raise refuse(
                path, finding, "mend `where` in the declaration", field=name, value=cells.dropna().iloc[:1].squeeze()
            )
        frame = kept
    return frame


def _patients(path: Path, key: "pd.Series[str]", source: TableSource, problems: Problems | None) -> "pd.Series[str]":
    """Each row's patient; rows that name none are noted and left out."""
    key = _named(path, key, key.isna(), "empty", "every row needs its patient", source.key, key, problems)
    if source.key_pattern is None:
        return key
    patient = key.str.extract(with_group(source.key_pattern), expand=False)
    finding = f"key_pattern {source.key_pattern} does not match"
    lost = patient.isna() | (patient == "")
    return _named(path, patient, lost, finding, "mend the cell or the pattern", source.key, key, problems)


def _once(path: Path, key: "pd.Series[str]", field: str, problems: Problems | None) -> "pd.Series[str]":
    """Each patient's first row; the others are noted and left out."""
    twice = key.duplicated()
    finding = f"patient stands in row {_first(key == key[twice.idxmax()])} already" if twice.any() else ""
    advice = f"keep one row a patient, say unique: first, or {ADVICE}; unique: identical if they say the same"
    return _named(path, key, twice, finding, advice, field, key, problems)


def _named(
    path: Path,
    patient: "pd.Series[str]",
    lost: "pd.Series[bool]",
    finding: str,
    advice: str,
    field: str,
    cells: "pd.Series[str]",
    problems: Problems | None,
) -> "pd.Series[str]":
    """Patients of the rows that are not lost; the others are one line, or refused where none is taken."""
    if not lost.any():
        return patient
    row, count = _first(lost), int(lost.sum())
    if problems is None:
        raise refuse(path, finding, advice, field=field, row=row, value=cells[row])
    times = f", the first of {count} such rows" if count > 1 else ""
    problems.error(path, f"{finding}{times}", advice, field=field, row=row, value=cells[row])
    problems.tell(path, "rows that name no patient, or one anew", count, field, rows=True)
    return patient[~lost]


def _first(mask: "pd.Series[bool]") -> int:
    return int(mask.idxmax())
