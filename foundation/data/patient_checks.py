"""Checks of patients: one person under two names, in two hospitals or two parts of a split, or with nothing else."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from foundation.data.problems import Problems
from foundation.data.site import Site
from foundation.data.split_file import SplitSource, read_parts

_FIELD = "patient_id"


def check_across(sites: list[Site], problems: Problems) -> None:
    """The same patient at two hospitals (an error), or under two spellings anywhere (a warning).

    Spellings are those that differ in letter case, spaces and punctuation alone.
    """
    seen: dict[str, Site] = {}
    spelt: dict[str, tuple[str, Site]] = {}
    for site in sites:
        path = site.files["patients"]
        for patient in site.patients.index:
            if patient in seen:
                finding = f"is also a patient of {seen[patient].name}"
                problems.error(path, finding, "a patient belongs to one hospital", field=_FIELD, value=patient)
                continue
            seen[patient] = site
            other, where = spelt.setdefault(spelling(patient), (patient, site))
            if other != patient:
                finding = f"may be {other} of {where.name}, written otherwise"
                problems.warn(path, finding, "write one patient in one way", field=_FIELD, value=patient)


def check_presence(site: Site, presence: pd.DataFrame, problems: Problems) -> None:
    """Patients who have no modality, and modalities that no patient has (warnings).

    A source that could not be read was noted when it was; what follows from it is not noted again.

    Args:
        site: the hospital.
        presence: bool `[patients, modalities]`.
        problems: takes the findings.
    """
    path = site.files["patients"]
    nothing = presence.index[~presence.any(axis=1)]
    if len(nothing) and not site.unread:
        finding = f"{len(nothing)} of {len(presence)} patients have no modality at all, the first"
        problems.warn(path, finding, "add their data, or drop their rows", field=_FIELD, value=nothing[0])
    for name, file in site.files.items():
        table = site.tables.get(name)
        if name != "patients" and name not in site.unread and (table is None or table.empty):
            finding = f"no patient of {site.name} has {name.replace('_', ' ')}"
            problems.warn(file, finding, "see whether its patients are those of the patients' table", field=_FIELD)


def check_split(sites: list[Site], source: SplitSource, problems: Problems) -> None:
    """A split's table against all patients.

    Errors: a file or part that is none, a patient in two parts, in none, or whom nobody knows. Warnings: two spellings
    of what may be one patient in two parts.
    """
    path = Path(source.file)
    part = problems.attempt(read_parts, source, problems)
    if part is None:
        return
    listed = set(part.index)
    known = {patient for site in sites for patient in site.patients.index}
    _twice(path, part.dropna(), problems)
    _missing(path, known - listed, "in no part, the first", "list every patient", problems)
    _missing(path, listed - known, "in no patients' table, the first", "drop their rows", problems)


def spelling(patient: str) -> str:
    """What stays of an id without letter case, spaces and punctuation; the id itself where nothing would."""
    return "".join(filter(str.isalnum, patient.casefold())) or patient


def _twice(path: Path, part: "pd.Series[str]", problems: Problems) -> None:
    """In more than one part, as written or by spelling; or listed twice."""
    for patient, parts in part[part.index.duplicated(keep=False)].groupby(level=0, sort=False):
        finding = f"patient {patient} stands {len(parts)} times, in {_listed(parts.unique())}"
        problems.error(path, finding, "list each patient once", field="part", value=parts.iloc[-1])
    once = part[~part.index.duplicated()]
    alike = defaultdict(list)
    for patient in once.index:
        alike[spelling(patient)].append(patient)
    for patients in alike.values():
        if len(patients) > 1 and once[patients].nunique() > 1:
            finding = f"{_listed(patients)} may be one patient, in {_listed(once[patients])}"
            problems.warn(path, finding, "write one patient in one way, in one part", field=_FIELD, value=patients[-1])


def _missing(path: Path, patients: set[str], finding: str, advice: str, problems: Problems) -> None:
    if patients:
        count = f"{len(patients)} patient{'s' if len(patients) > 1 else ''}"
        problems.error(path, f"{count} {finding}", advice, field=_FIELD, value=min(patients))


def _listed(words: Iterable[str]) -> str:
    return " and ".join(words)
