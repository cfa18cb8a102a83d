"""The reader of a cohort's hospitals, each as it is declared."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from foundation.data.declaration import FILE, Declaration, HospitalColumn
from foundation.data.fhir import read_fhir_survival
from foundation.data.fhir_source import FhirSource
from foundation.data.hospitals import by_column
from foundation.data.labels import coded_labels
from foundation.data.landmarks import check_landmarks, landmarks_of
from foundation.data.preparation import in_reading_order, preparations
from foundation.data.problems import Problems, refuse
from foundation.data.site import Site
from foundation.data.sources import Sources, usual_patients
from foundation.data.tables import Kinds, read_source

Moved = Mapping[str, Any]  # by field, where a part of a source lies; None where none of it is read


def read_sites(
    root: Path,
    declaration: Declaration,
    problems: Problems,
    bars: Progress | None = None,
    parts: Mapping[str, Moved] | None = None,
) -> list[Site]:
    """Every hospital's tables; what cannot be read is noted and left out.

    Args:
        root: the cohort's folder.
        declaration: of it.
        problems: takes what is wrong.
        bars: shows how far it got.
        parts: by folder, what is read instead of whole sources; other folders are passed by. All of all if None.
    """
    hospitals = declaration.hospitals
    folders = folders_of(root, declaration)
    if parts is not None:
        folders = {name: folder for name, folder in folders.items() if name in parts}
    withdrawn = read_withdrawn(root, declaration)
    sites = []
    for name, folder in folders.items() if bars is None else bars.track(folders.items(), description="Reading"):
        moved = {} if parts is None else parts[name]
        site = problems.attempt(_read, name, folder, declaration, problems, withdrawn, moved)
        if site is not None:
            sites.append(site)
    if not isinstance(hospitals, HospitalColumn):
        return sites
    return [part for site in sites for part in _divide(site, hospitals, problems)]


def folders_of(root: Path, declaration: Declaration) -> dict[str, Path]:
    """By name, each folder of hospitals' files: the cohort's own where a column names the hospitals."""
    hospitals = declaration.hospitals
    return {root.name: root} if isinstance(hospitals, HospitalColumn) else {name: root / name for name in hospitals}


def read_withdrawn(root: Path, declaration: Declaration) -> set[str]:
    """Patients who withdrew, by the file that the declaration names.

    Raises:
        DataError: if the file is not there, or no text.
    """
    if declaration.withdrawn is None:
        return set()
    path = root / declaration.withdrawn
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(path, "not readable", "a patient's id a line, or drop `withdrawn`", field="withdrawn") from error
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def _without(site: Site, withdrawn: set[str], problems: Problems) -> Site:
    """A hospital without the patients who withdrew."""
    left = site.patients.index[~site.patients.index.isin(withdrawn)]
    if len(left) == len(site.patients):
        return site
    if not len(left):
        raise refuse(site.files["patients"], "every patient withdrew", "take the hospital out", field="hospitals")
    problems.tell(site.files["patients"], "patients who withdrew", len(site.patients) - len(left), rows=True)
    tables = {name: table[~table.index.isin(withdrawn)] for name, table in site.tables.items()}
    return replace(site, patients=site.patients.loc[left], tables=tables)


def _divide(site: Site, hospitals: HospitalColumn, problems: Problems) -> list[Site]:
    named = problems.attempt(by_column, site.folder, site.patients, hospitals, site.files["patients"])
    if named is None:
        return []
    left = len(site.patients) - sum(map(len, named.values()))
    problems.tell(site.files["patients"], f"patients of {', '.join(hospitals.leave_out)}", left, rows=True)
    return [site.only(patients, name) for name, patients in named.items()]


def _read(
    name: str, folder: Path, declaration: Declaration, problems: Problems, withdrawn: set[str], moved: Moved
) -> Site:
    if not folder.is_dir():
        advice = f"{FILE} names this hospital: give its folder, or drop its name"
        raise refuse(folder, "no such folder", advice, field="hospitals")
    places = {**places_of(folder, declaration.sources), **moved}
    places = {field: source for field, source in places.items() if source is not None}
    source = places.pop("patients", declaration.sources.patients or usual_patients(folder))
    before = len(problems.listed)
    if isinstance(source, FhirSource):
        file = folder / source.files
        survival, dated = declaration.dictionary.survival, declaration.landmark is not None
        patients = read_fhir_survival(folder, source, **survival, problems=problems, dated=dated)
    else:
        file, source = folder / source.file, source.read_for("patients")
        patients = read_source(folder, source, kinds=_kinds(declaration), problems=problems)
    patients = coded_labels(patients, declaration.dictionary.classes, file, problems)
    if not len(patients):
        raise refuse(file, "no patient", "fill the table, or take the hospital out")
    site = Site(name, folder, patients, files={"patients": file})
    if not isinstance(source, FhirSource) and any(p.field == source.key for p in problems.listed[before:]):
        site.unread.add("patients")
    if declaration.landmark is not None:
        site.landmarks = landmarks_of(patients, declaration.landmark, file, problems)
        if "time" in declaration.dictionary.survival and declaration.dictionary.survival["time"] in patients:
            check_landmarks(patients, declaration.dictionary.survival["time"], site.landmarks, file, problems)
    told = len(problems.steps)
    for preparation in in_reading_order():
        known, errors = set(site.files), len(problems.errors)
        preparation.read(site, places, declaration, problems)
        if len(problems.errors) > errors:
            site.unread |= {file for file in site.files if file not in known and file not in site.tables}
    problems.steps[told:] = [replace(step, rows=False) for step in problems.steps[told:]]  # rows, but no patients
    site = _without(site, withdrawn, problems)
    _unknown_patients(site, declaration, problems)
    return site.only(site.patients.index)


def _kinds(declaration: Declaration) -> Kinds:
    """What the patients' table holds."""
    hospitals, dictionary = declaration.hospitals, declaration.dictionary
    text = [hospitals.column] if isinstance(hospitals, HospitalColumn) and hospitals.column is not None else []
    times = [time for name, time in dictionary.survival.items() if name == "time"]
    measured = [*times, *dictionary.quantities]
    numbers = [name for name in (*dictionary.labels, *dictionary.survival.values()) if name not in dictionary.classes]
    return Kinds(text=text, numbers=numbers, measured=measured, words=dictionary.classes)


def places_of(folder: Path, declared: Sources) -> dict[str, Any]:
    """What is declared, filled up with what lies in the usual places."""
    places: dict[str, Any] = {}
    for preparation in preparations().values():
        for field in preparation.sources:
            source = getattr(declared, field, None) or preparation.usual(folder, field)
            if source is not None:
                places[field] = source
    return places


def _unknown_patients(site: Site, declaration: Declaration, problems: Problems) -> None:
    """Rows of patients who are not in the patients' table are noted, unless the declaration leaves them out.

    Nor are they where that table has rows without a patient: they may be those.
    """
    if declaration.unknown_patients == "ignore":
        for name, table in site.tables.items():
            strangers = int((~table.index.isin(site.patients.index)).sum())
            problems.tell(site.files[name], f"rows of {name} whose patients the patients' table lacks", strangers)
    if declaration.unknown_patients == "ignore" or "patients" in site.unread:
        return
    without_zeros = {patient.lstrip("0"): patient for patient in site.patients.index}
    for name, table in list(site.tables.items()):
        declared = getattr(declaration.sources, name, None)
        if isinstance(declared, FhirSource) and isinstance(declaration.sources.patients, FhirSource):
            continue  # of one export: those without the index condition were noted when patients were read
        unknown = table.index.difference(site.patients.index)
        if len(unknown):
            finding = f"{len(unknown)} patients who are not in {site.files['patients'].name}, the first"
            advice = f"add them, drop their rows, or say unknown_patients: ignore in {FILE}"
            other = without_zeros.get(str(unknown[0]).lstrip("0"))
            advice = advice if other is None else f"write it {other} if that is meant, with its zeros; else {advice}"
            problems.error(site.files[name], finding, advice, field="patient_id", value=unknown[0])
        if len(unknown) and len(unknown) == table.index.nunique():
            site.unread.add(name)  # nobody has it, as follows from this line
            del site.tables[name]
