"""What comes in from files: answers of a batch, outcomes of a table, ids of those who withdrew."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from foundation.errors import UserError
from serve.feedback.declared import Declared
from serve.feedback.store import Answer

_PATIENT = "patient_id"


def answers_of(path: Path, declared: Mapping[str, Declared]) -> Iterator[Answer]:
    """Answers in `answers.jsonl` of `serve.batch`; refused requests are passed by.

    Raises:
        UserError: if a line is none, or of a version that nobody declared.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"answers: {path}: cannot be read; give answers.jsonl of python -m serve.batch") from error
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            patient, answer = _id_of(content[_PATIENT]), content.get("answer")
            if answer is None:
                continue
            version = str(answer["version"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"answers: {path}: line {number} is no answer of python -m serve.batch") from error
        if version not in declared:
            raise UserError(f"answers: {path}: line {number} is of version {version}, which was not declared here")
        try:
            kept = declared[version].answer(patient, answer)
        except UserError as error:
            raise UserError(f"answers: {path}: line {number}: {str(error).removeprefix('answers: ')}") from error
        yield kept


def outcomes_of(path: Path, column: str | None, declared: Declared) -> Iterator[tuple[str, str, int]]:
    """Patient, output and 0 or 1, of each value in a table that is not blank.

    Args:
        path: CSV with `patient_id`.
        column: of the class; of labels None, for their columns are their names.
        declared: what the release is held to.

    Raises:
        UserError: naming the column that is missing, or the row that cannot be read.
    """
    if declared.classes and column is None:
        raise UserError("column: not given; say which column of the table holds the class")
    columns = [column] if declared.classes and column is not None else declared.outputs
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # of pandas, whose words may quote a row
        raise UserError(f"table: {path}: cannot be read as CSV; give {_PATIENT} and {', '.join(columns)}") from error
    missing = [name for name in (_PATIENT, *columns) if name not in table]
    if missing:
        raise UserError(f"table: {path}: no column '{missing[0]}'; give {_PATIENT} and {', '.join(columns)}")
    for number, row in enumerate(table[[_PATIENT, *columns]].itertuples(index=False), 2):
        values = dict(zip(columns, (str(value).strip() for value in row[1:]), strict=True))
        try:
            patient, outcomes = _id_of(row[0]), declared.outcomes(values)
        except ValueError as error:
            raise UserError(f"table: {path}: row {number}: {_PATIENT} is blank; name the patient") from error
        except UserError as error:
            raise UserError(f"table: {path}: row {number}: {error}") from error
        for output, value in outcomes.items():
            yield patient, output, value


def ids_of(path: Path) -> list[str]:
    """Patients of a file, an id a line.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"table: {path}: cannot be read; give a file of ids, one a line") from error
    return [line.strip() for line in lines if line.strip()]


def _id_of(value: object) -> str:
    """A patient's id: what is blank, or null, would be one patient for all who have none.

    Raises:
        ValueError: if it is none, or no text that UTF-8 has.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError("no id")
    value.encode()  # raises for half a surrogate pair, which JSON can escape
    return value
