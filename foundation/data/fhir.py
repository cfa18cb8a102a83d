"""A record read from FHIR R4 by declaration; survival is read apart from it, so that no outcome can become an input."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.event_tables import read_tables
from foundation.data.fhir_export import Export, Located, read_export
from foundation.data.fhir_resources import Patient, parse_date
from foundation.data.fhir_source import FhirColumn, FhirSource
from foundation.data.fhir_values import parts, pick, translate, value_of
from foundation.data.landmarks import Landmarks
from foundation.data.problems import DataError, Problems, refuse
from foundation.data.table_files import KEY

DAYS_A_YEAR = 365.25
INDEX_DATE = "index_date"
Dates = dict[str, datetime]


def read_fhir(
    folder: Path, source: FhirSource, problems: Problems | None = None, landmarks: Landmarks | None = None
) -> pd.DataFrame:
    """The declared record; `problems` takes what was left out, as is whatever is dated after the landmarks.

    A patient without the index condition has no age at it and nothing inside a window: missing. Of a condition's
    absence the export says nothing more than that nobody recorded it.

    Returns:
        `[patients, columns]` indexed by `patient_id` (text), sorted.

    Raises:
        DataError: naming the file and the entry (or line), if a resource is damaged, or a patient has no, two or
            somebody else's identifier; without `problems`, also if a unit or code is not the declared one, or two
            values stand for one time.
    """
    export = _export(folder, source, declared_codes(source))
    _note_left(folder / source.files, export, problems)
    if landmarks is not None and problems is not None:
        names = _identities(export, source.identifier)
        _leave_later_out(export, names, landmarks, folder / source.files, problems)
    return record_of(export, source, problems)


def declared_codes(source: FhirSource) -> set[str]:
    """`system|code` of all that its columns are read from."""
    named = (code for column in source.columns.values() for code in column.codes)
    return {code for code in (*named, source.index) if code and "|" in code}


def record_of(export: Export, source: FhirSource, problems: Problems | None = None) -> pd.DataFrame:
    """The declared record of an export's patients; see `read_fhir`.

    A value that cannot be read is missing where `problems` are taken, which then name it, once a kind.
    """
    names = _identities(export, source.identifier)
    index = _onsets(export, source.index)
    table = {name: _column(export, column, index, problems) for name, column in source.columns.items()}
    frame = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in table.items()}, index=list(names))
    frame.index = pd.Index([names[patient] for patient in frame.index], dtype=object, name=KEY)
    return frame.infer_objects().sort_index()


def read_fhir_survival(
    folder: Path,
    source: FhirSource,
    event: str = "os_event",
    time: str = "os_days",
    problems: Problems | None = None,
    dated: bool = False,
) -> pd.DataFrame:
    """Overall survival from the index: for the labels, never for the record.

    Follow-up of the living ends with the last dated Observation or Condition. A death without a date has no time.
    Patients without the index condition, or without its date, are left out; `problems` takes how many.

    Returns:
        `[patients, 2]` indexed by `patient_id`, sorted: event (0 or 1) and time (days), of those with the index
        condition; where `dated`, also `index_date`.

    Raises:
        DataError: as `read_fhir`, and if the source declares no index.
    """
    if source.index is None:
        raise refuse(folder / source.files, "survival without a day zero", "declare index, a Condition", field="index")
    export = _export(folder, source)
    _note_left(folder / source.files, export, problems)
    names = _identities(export, source.identifier)
    onsets = _onsets(export, source.index)
    _note_without_index(folder / source.files, export, source.index, onsets, problems)
    follow_up = {}
    for patient, start in onsets.items():
        person = export.patients[patient].resource
        dead = person.deceased_date_time is not None or bool(person.deceased_boolean)
        seen = [one.resource.date for one in export.conditions.get(patient, [])]
        seen += [one.resource.last for one in export.observations.get(patient, [])]
        last = person.deceased_date_time if dead else max(date or start for date in seen)
        follow_up[names[patient]] = (int(dead), (last.date() - start.date()).days if last else None)
    frame = pd.DataFrame.from_dict(follow_up, orient="index", columns=[event, time])
    if dated:
        frame[INDEX_DATE] = pd.Series({names[patient]: start.date().isoformat() for patient, start in onsets.items()})
    frame.index = pd.Index(frame.index.astype(object), name=KEY)
    return frame.sort_index()


def _leave_later_out(
    export: Export, names: dict[str, str], landmarks: Landmarks, path: Path, problems: Problems
) -> None:
    """Takes conditions and observations out of an export that are dated after the landmarks, or not at all."""
    kinds: tuple[tuple[str, dict[str, list[Any]]], ...] = (
        ("conditions", export.conditions),
        ("observations", export.observations),
    )
    for what, by_patient in kinds:
        each = [(patient, one) for patient, listed in by_patient.items() for one in listed]
        dates = [one.resource.date for _, one in each]
        days = pd.Series([date and date.replace(tzinfo=None) for date in dates], dtype="datetime64[s]")
        kept = landmarks.keep(pd.Index([names[patient] for patient, _ in each]), days, path, what, problems)
        by_patient.clear()
        for (patient, one), early in zip(each, kept, strict=True):
            if early:
                by_patient.setdefault(patient, []).append(one)


def _export(folder: Path, source: FhirSource, codes: set[str] | None = None) -> Export:
    if source.form == "fhir":
        return read_export(folder, source.files, codes)
    return read_tables(folder, source.files, source.form, codes)


def _note_left(path: Path, export: Export, problems: Problems | None) -> None:
    for what, count in export.left.items() if problems is not None else ():
        if problems is not None and not any(what in problem.finding for problem in problems.listed):
            problems.warn(path, f"{count} {what}", "nothing to do, unless they are meant")


def _note_without_index(path: Path, export: Export, index: str, onsets: Dates, problems: Problems | None) -> None:
    if problems is None:
        return
    undated = [
        patient
        for patient, conditions in export.conditions.items()
        if patient not in onsets and any(index in one.resource.code.codes for one in conditions)
    ]
    for patients, finding, advice in (
        (undated, "have the index condition without a date", "give it onset, assertedDate or recordedDate"),
        (sorted(export.patients.keys() - onsets.keys() - set(undated)), "have no index condition", "see `index`"),
    ):
        if patients:
            problems.warn(path, f"{len(patients)} patients {finding} and are left out", advice, value=patients[0])


def _identities(export: Export, system: str) -> dict[str, str]:
    """Resource id → the patient's id."""
    names: dict[str, str] = {}
    owners: dict[str, Located[Patient]] = {}
    for key, patient in export.patients.items():
        ids = [one.value for one in patient.resource.identifier if one.system == system and one.value]
        ids = [patient.resource.id or key] if system == "id" else sorted(set(ids))
        if len(ids) != 1:
            count = f"{len(ids)} identifiers" if ids else "no identifier"
            advice = "give each patient one, or declare another system"
            raise patient.refuse(f"{count} of system {system}", advice, "identifier", ", ".join(ids))
        owner = owners.setdefault(ids[0], patient)
        if owner is not patient:
            place = f"{owner.path.name}, {'line' if owner.entry is None else 'entry'} {owner.entry or owner.row or 0}"
            raise patient.refuse(f"patient stands in {place} too", "merge the two", "identifier", ids[0])
        names[key] = ids[0]
    return names


def _onsets(export: Export, code: str | None) -> Dates:
    """Each patient's first onset of a condition."""
    onsets: Dates = {}
    for patient, conditions in export.conditions.items():
        dates = [one.resource.date for one in conditions if code in one.resource.code.codes]
        known = [date for date in dates if date is not None]
        if known:
            onsets[patient] = min(known)
    return onsets


def _each(patients: Iterable[str], read: Callable[[str], Any], problems: Problems | None) -> dict[str, Any]:
    """What is read of each patient; what is refused is noted, those alike in one line, and missing."""
    values, refused = {}, defaultdict(list)
    for patient in patients:
        try:
            values[patient] = read(patient)
        except DataError as error:
            if problems is None:
                raise
            refused[error.problem.finding, error.problem.advice].append(error.problem)
    for alike in refused.values():
        times = f", of {len(alike)} patients, the first" if len(alike) > 1 else ""
        assert problems is not None
        problems.listed.append(replace(alike[0], finding=f"{alike[0].finding}{times}"))
    return values


def _column(export: Export, column: FhirColumn, index: Dates, problems: Problems | None) -> dict[str, Any]:
    if column.path == "patient.gender":
        people = export.patients
        return _each(
            people, lambda key: translate(people[key], people[key].resource.gender, column, "gender"), problems
        )
    if column.path == "patient.age_at":
        return _ages(export, column.at, index)
    inside = _window(column.window, index)
    if column.condition is not None:
        return {
            patient: int(
                any(
                    column.condition in one.resource.code.codes and inside(patient, one.resource.date)
                    for one in export.conditions.get(patient, [])
                )
            )
            for patient in export.patients
        }

    def picked(patient: str) -> Any:
        matching = [one for one in export.observations[patient] if inside(patient, one.resource.date)]
        each = [(one, part) for one in matching for part in parts(one.resource, column)]
        return pick([(one, value_of(one, part, column)) for one, part in each], column, index.get(patient))

    return _each(export.observations, picked, problems)


def _ages(export: Export, at: str | None, index: Dates) -> dict[str, float]:
    fixed = parse_date(at) if at is not None and "|" not in at else None
    dates = _onsets(export, at) if at is not None and fixed is None else index
    ages = {}
    for patient, one in export.patients.items():
        date = fixed or dates.get(patient)
        if date is None or one.resource.birth_date is None:
            continue
        ages[patient] = (date - one.resource.birth_date).days / DAYS_A_YEAR
        if ages[patient] < -0.5:  # half a year: what a birth year alone leaves open
            value = one.resource.birth_date.date()
            raise one.refuse(f"born after {date.date()}", "mend one of the dates", "birthDate", value)
    return ages


def _window(window: tuple[int, int] | None, index: Dates) -> Callable[[str, datetime | None], bool]:
    def inside(patient: str, date: datetime | None) -> bool:
        if window is None:
            return True
        return date is not None and patient in index and window[0] <= (date - index[patient]).days <= window[1]

    return inside
