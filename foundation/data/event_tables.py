"""Tables of events, a row an event: the OMOP common data model and Synthea's CSV, read as the resources of FHIR.

So one declaration of columns, with index, windows and units, serves all three. Codes are `omop|CONCEPT_ID`, or those of
Synthea's own FHIR export (`http://snomed.info/sct|…`, `http://loinc.org|…`).
Sources: OMOP CDM 5.4, https://ohdsi.github.io/CommonDataModel/cdm54.html; Synthea's CSV data dictionary.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundation.data import database_tables
from foundation.data.columns import codes as codes_of
from foundation.data.fhir_export import Export, Located, validated
from foundation.data.numbers import number
from foundation.data.problems import refuse
from foundation.data.table_files import LINES, PARQUET, Reading, read_frame

SNOMED, LOINC, OMOP = "http://snomed.info/sct", "http://loinc.org", "omop"
_ENDINGS = (".csv", ".tsv", ".txt", *LINES, *PARQUET)
_GENDERS = {"8507": "male", "8532": "female", "8521": "other", "M": "male", "F": "female"}
_COMPARATORS = {"4171756": "<", "4171754": "<=", "4171755": ">=", "4172704": ">"}  # OMOP's concepts


@dataclass(frozen=True)
class _Events:
    """One table of events: columns by what they say; an empty name where the form has none.

    Attributes:
        system: of the codes; a table whose codes nobody asks for still tells when a patient was last seen.
    """

    table: str
    person: str
    code: str
    date: str
    system: str = ""
    end: str = ""
    value: str = ""
    concept: str = ""
    text: str = ""
    unit: str = ""
    unit_concept: str = ""
    comparator: str = ""

    @property
    def columns(self) -> list[str]:
        """Those that are read."""
        names = (self.person, self.code, self.date, self.end, self.value, self.concept, self.text, self.unit)
        return [name for name in (*names, self.unit_concept, self.comparator) if name]


@dataclass(frozen=True)
class _Table:
    """Where a table lies: in a file of its own, or by a name in a database."""

    path: Path
    name: str = ""

    def read(self, wanted: Collection[str]) -> pd.DataFrame:
        """Its columns of those wanted, by row."""
        if self.name:
            return database_tables.read_database(self.path, self.name, wanted)
        return read_frame(self.path, reading=Reading((), wanted)).frame


@dataclass(frozen=True)
class _Form:
    """What a form's tables are called."""

    people: str
    person: str
    conditions: _Events
    observations: tuple[_Events, ...]
    seen: tuple[_Events, ...]


_FORMS = {
    "omop": _Form(
        "person",
        "person_id",
        _Events("condition_occurrence", "person_id", "condition_concept_id", "condition_start_date", OMOP),
        (
            _Events(
                *("measurement", "person_id", "measurement_concept_id", "measurement_date", OMOP),
                value="value_as_number",
                concept="value_as_concept_id",
                unit="unit_source_value",
                unit_concept="unit_concept_id",
                comparator="operator_concept_id",
            ),
            _Events(
                *("observation", "person_id", "observation_concept_id", "observation_date", OMOP),
                value="value_as_number",
                concept="value_as_concept_id",
                text="value_as_string",
                unit="unit_source_value",
                unit_concept="unit_concept_id",
            ),
        ),
        (
            _Events("observation_period", "person_id", "", "observation_period_end_date"),
            _Events("visit_occurrence", "person_id", "", "visit_end_date"),
        ),
    ),
    "synthea": _Form(
        "patients",
        "id",
        _Events("conditions", "patient", "code", "start", SNOMED),
        (_Events("observations", "patient", "code", "date", LOINC, text="value", unit="units"),),
        (_Events("encounters", "patient", "", "start"),),
    ),
}


def read_tables(folder: Path, files: str, form: str, codes: Collection[str] | None = None) -> Export:
    """The people of an extract, their conditions and observations.

    Args:
        folder: the hospital's.
        files: a glob of the tables, each called by its name in the model, or of a SQLite database of them.
        form: `omop` or `synthea`.
        codes: `system|code` that are kept; all conditions if None, and of observations when a patient was last seen.

    Raises:
        DataError: naming the file and the row, if a table or column is missing, or a date or number is none.
    """
    tables, names = _find(folder, files), _FORMS[form]
    export = Export()
    died = _deaths(tables)
    for path, row, cells in _rows(tables, names.people, folder / files, [names.person], _PERSON):
        if names.person not in cells:
            raise refuse(path, "empty", "every row needs its patient", field=names.person, row=row)
        located = validated(Located(_person(cells, names.person, died), path, None, row), "Patient")
        if export.patients.setdefault(located.resource.id, located) is not located:
            raise located.refuse("patient stands twice", "keep one row", names.person, located.resource.id)
    for patient, located in _events(tables, names.conditions, folder / files, codes, export):
        export.conditions.setdefault(patient, []).append(located)
    for events in (*names.observations, *(names.seen if codes is None else ())):
        if events.table in tables:
            read = _last_seen if codes is None else _events
            for patient, located in read(tables, events, folder / files, codes, export):
                export.observations.setdefault(patient, []).append(located)
    return export


_PERSON = [
    *("gender_concept_id", "year_of_birth", "month_of_birth", "day_of_birth", "person_source_value"),
    *("birthdate", "deathdate", "gender"),
]


def _find(folder: Path, files: str) -> dict[str, _Table]:
    """Tables by name, in small letters."""
    tables: dict[str, _Table] = {}
    for path in sorted(path for path in folder.glob(files) if path.is_file()):
        stem, _, ending = path.name.lower().partition(".")
        each = {stem: _Table(path)} if f".{ending.removesuffix('.gz')}" in _ENDINGS else {}
        if path.suffix.lower() in (*database_tables.ENDINGS, *database_tables.OTHERS):
            each = {name.lower(): _Table(path, name) for name in database_tables.names_of(path)}
        for name, one in each.items():
            if name in tables:
                finding = f"another table {name} is in {tables[name].path.name}"
                raise refuse(path, finding, "keep one, or narrow `files`")
            tables[name] = one
    return tables


def _rows(
    tables: dict[str, _Table],
    name: str,
    place: Path,
    required: list[str],
    more: list[str],
    only: set[str] | None = None,
) -> Iterator[tuple[Path, int, dict[str, str]]]:
    """Rows of a table as text by column, in small letters, without blank cells.

    Args:
        tables: by name.
        name: of the table.
        place: where tables were looked for, for messages.
        required: columns, the last of which `only` speaks of.
        more: columns that may be there.
        only: words of that column whose rows are read; all if None.
    """
    if name not in tables:
        raise refuse(place, f"no table {name}", "export it too, or mend `files` in the declaration")
    path, wanted = tables[name].path, {*required, *more}
    written = {form(column) for form in (str.lower, str.upper, str.capitalize) for column in wanted}
    frame = tables[name].read(written).rename(columns=str.lower)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise refuse(path, "stands in small and in capital letters", "keep one of the columns", field=twice[0])
    for column in required:
        if column not in frame:
            raise refuse(path, "no such column", f"export the {name} table as the model has it", field=column)
    if only is not None:
        frame = frame[codes_of(frame[required[-1]]).isin(only).to_numpy()]
    texts = {column: codes_of(frame[column]) for column in frame}  # an id may be written 1 and 1.0
    for place_in, row in enumerate(frame.index):
        cells = {column: text.iloc[place_in] for column, text in texts.items()}
        yield path, int(row), {column: cell for column, cell in cells.items() if isinstance(cell, str)}


def _deaths(tables: dict[str, _Table]) -> dict[str, str]:
    if "death" not in tables:
        return {}
    died: dict[str, str] = {}
    for path, row, cells in _rows(tables, "death", tables["death"].path, ["person_id", "death_date"], []):
        patient, date = cells.get("person_id", ""), cells.get("death_date", "")[:10]
        if not date:  # whoever died at an unknown time is not alive to the end
            advice = "give the date, or leave the patient out of the extract"
            raise refuse(path, "no date of death", advice, field="death_date", row=row)
        validated(Located({"deceasedDateTime": date}, path, None, row), "Patient")
        if died.setdefault(patient, date) != date:
            raise refuse(path, "patient died on another day already", "keep one row", field="person_id", row=row)
    return died


def _person(cells: dict[str, str], key: str, died: dict[str, str]) -> dict[str, Any]:
    """As FHIR has a Patient; a birth is as exact as it is known."""
    identity = cells.get(key, "")
    parts = [cells.get("year_of_birth", "")]
    for name in ("month_of_birth", "day_of_birth"):
        if parts[-1] and name in cells:
            parts.append(cells[name].zfill(2))
    birth = cells.get("birthdate", "-".join(parts))
    death = cells.get("deathdate", died.get(identity, ""))
    source = cells.get("person_source_value")
    content = {
        "id": identity,
        "identifier": [{"system": "person_source_value", "value": source}] if source else [],
        "gender": _GENDERS.get(cells.get("gender_concept_id", cells.get("gender", "")), "unknown"),
    }
    return content | ({"birthDate": birth[:10]} if birth else {}) | ({"deceasedDateTime": death[:10]} if death else {})


def _events(
    tables: dict[str, _Table], events: _Events, place: Path, codes: Collection[str] | None, export: Export
) -> Iterator[tuple[str, Located[Any]]]:
    """A table's rows as resources, by patient."""
    kind = "Observation" if events.value or events.text else "Condition"
    asked = (
        None if codes is None else {code.rpartition("|")[2] for code in codes if code.startswith(f"{events.system}|")}
    )
    if asked is not None and not asked:
        return
    required = [events.person, events.date, events.code]
    for path, row, cells in _rows(tables, events.table, place, required, events.columns, asked):
        content = {"code": {"coding": [{"system": events.system, "code": cells.get(events.code, "")}]}}
        date = {"onsetDateTime" if kind == "Condition" else "effectiveDateTime": cells.get(events.date, "")[:10]}
        raw = Located({**content, **date, **_value(cells, events, path, row)}, path, None, row)
        patient = cells.get(events.person, "")
        if patient not in export.patients:
            raise raw.refuse("refers to no patient of the extract", "export that patient too", events.person, patient)
        yield patient, validated(raw, kind)


def _value(cells: dict[str, str], events: _Events, path: Path, row: int) -> dict[str, Any]:
    """A number with its unit, a concept, or words; nothing where the row has none."""
    written = cells.get(events.value or events.text, "")
    amount = number(written) if written else np.nan
    amount = amount if np.isfinite(amount) else np.nan
    unit = cells.get(events.unit, cells.get(events.unit_concept, ""))
    if not np.isnan(amount):
        comparator = _COMPARATORS.get(cells.get(events.comparator, ""), "")
        return {"valueQuantity": {"value": float(amount), "code": unit, "comparator": comparator}}
    if written and events.value:
        raise refuse(path, "no number", "mend it where it was exported", field=events.value, row=row, value=written)
    if cells.get(events.concept, "0") != "0":
        return {"valueCodeableConcept": {"coding": [{"system": OMOP, "code": cells[events.concept]}]}}
    words = cells.get(events.text)
    return {"valueString": words} if words else {}


def _last_seen(
    tables: dict[str, _Table], events: _Events, place: Path, codes: Collection[str] | None, export: Export
) -> Iterator[tuple[str, Located[Any]]]:
    """The last row of each patient, as an observation of nothing."""
    last: dict[str, tuple[str, Path, int]] = {}
    for path, row, cells in _rows(tables, events.table, place, [events.person, events.date], []):
        patient, date = cells.get(events.person, ""), cells.get(events.date, "")[:10]
        if date:  # other forms do not sort by time
            validated(Located({"effectiveDateTime": date}, path, None, row), "Observation")
        if date > last.get(patient, ("", path, 0))[0]:
            last[patient] = (date, path, row)
    for patient, (date, path, row) in last.items():
        if patient in export.patients:
            yield patient, validated(Located({"effectiveDateTime": date}, path, None, row), "Observation")
