"""Everything that is checked before a cohort is trusted, over all hospitals, in one pass that names every problem."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import Progress

from foundation.data import clinical_checks, image_checks, patient_checks, text_checks
from foundation.data.declaration import Declaration, HospitalColumn
from foundation.data.dictionary import is_outcome
from foundation.data.outcome_checks import check_outcomes
from foundation.data.panel import align
from foundation.data.problems import Problem, Problems
from foundation.data.site import CHANNELS, IMAGES, Site, read_sites
from foundation.data.tables import TableSource

_SHOWN = clinical_checks.SHOWN


@dataclass
class Validation:
    """What was found.

    Attributes:
        declaration: of the cohort.
        sites: as read.
        problems: every one.
        counts: by hospital, patients and how many have each modality.
    """

    declaration: Declaration
    sites: list[Site]
    problems: Problems
    counts: dict[str, dict[str, int]]


def validate(
    root: Path, declaration: Declaration, images: bool = True, split: TableSource | None = None, progress: bool = True
) -> Validation:
    """Reads and checks a whole cohort.

    Args:
        root: the cohort's folder.
        declaration: of it.
        images: whether every image is opened and compared across patients.
        split: the table of `patient_id` and `part`.
        progress: whether to draw bars.
    """
    problems = Problems()
    counts = {}
    with Progress(transient=True, disable=not progress) as bars:
        sites = read_sites(root, declaration, problems, bars)
        for site in bars.track(sites, description="Checking tables"):
            own = Problems()
            check_site(site, declaration, own)
            problems.found += _at(site, own.found) if isinstance(declaration.hospitals, HospitalColumn) else own.found
            counts[site.name] = _counts(site)
        patient_checks.check_across(sites, problems)
        if split is not None:
            patient_checks.check_split(sites, split, problems)
        task = bars.add_task("Searching reports for identifiers", total=1)
        text_checks.check_identifiers(sites, declaration.deidentify.text == "mask", problems)
        bars.remove_task(task)
        if images:
            image_checks.check(sites, problems, bars)
    return Validation(declaration, sites, problems, counts)


def check_site(site: Site, declaration: Declaration, problems: Problems) -> None:
    """What one hospital's tables can have wrong by themselves."""
    dictionary, path = declaration.dictionary, site.files["patients"]
    problems.found += clinical_checks.check_labels(site.patients, dictionary.labels, path)
    if dictionary.survival:
        problems.found += clinical_checks.check_survival(site.patients, path, **dictionary.survival)
    problems.found += clinical_checks.check_dates(site.patients, path, *date_columns(site.patients))
    if site.record is not None:
        outcomes = [name for name in (*dictionary.labels, *dictionary.survival.values()) if name in site.patients]
        file = site.files["record"]
        problems.found += clinical_checks.check_dates(site.record, file, *date_columns(site.record))
        for column in dictionary.record:
            if column.name not in site.record:
                problems.warn(file, "no such column", "add it, or expect it unknown here", field=column.name)
        problems.found += clinical_checks.check_record(site.record, dictionary.record, file)
        inputs = {column.name for column in dictionary.record}
        inputs |= {name for name in site.record if is_outcome(str(name))}
        record = site.record[[name for name in site.record if name in inputs]]
        problems.found += check_outcomes(record, site.patients[outcomes], file)
    if "expression" in site.channels:
        _check_profiles(site.channels["expression"], site.files["expression"], problems)
        if dictionary.genes:
            problems.attempt(
                align,
                site.channels["expression"],
                dictionary.genes,
                site.files["expression"],
                declaration.smallest_coverage,
            )
    text_checks.check_leaks(site, _event_dates(site.patients), problems)
    patient_checks.check_held(site, held(site), problems)


def _at(site: Site, found: list[Problem]) -> list[Problem]:
    """Findings that name the hospital, for several hospitals share the file."""
    return [replace(problem, found=f"at {site.name}, {problem.found}") for problem in found]


def held(site: Site) -> pd.DataFrame:
    """Who has what: bool `[patients, modalities]`."""
    owners: dict[str, Iterable[str]] = {name: site.images[name].index for name in IMAGES if name in site.images}
    genomic = [table.index[table.notna().any(axis=1)] for table in site.channels.values()]
    owners["genomics"] = {patient for index in genomic for patient in index}
    owners["report"] = [] if site.reports is None else site.reports.index
    owners["record"] = [] if site.record is None else site.record.index[site.record.notna().any(axis=1)]
    names = (*IMAGES, "genomics", "report", "record")
    return pd.DataFrame(
        {name: site.patients.index.isin(list(owners.get(name, ()))) for name in names}, site.patients.index
    )


def date_columns(table: pd.DataFrame) -> tuple[str | None, str | None, str | None]:
    """Columns that by their names hold the dates of birth, diagnosis and follow-up; None for one that is not there."""
    dates = [str(name) for name in table.columns if "date" in str(name).lower() or str(name).lower() == "dob"]

    def named(*words: str) -> str | None:
        return next((name for name in dates if any(word in name.lower() for word in words)), None)

    return named("birth", "dob"), named("diagnos"), named("follow", "contact", "death", "event")


def _event_dates(patients: pd.DataFrame) -> "pd.Series[pd.Timestamp] | None":
    column = date_columns(patients)[2]
    if column is None:
        return None
    return pd.to_datetime(patients[column], errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)


def _check_profiles(table: pd.DataFrame, path: Path, problems: Problems) -> None:
    """Expression profiles that say nothing; all zero or constant is an error, without any value a warning."""
    values = table.to_numpy(dtype=np.float32)
    known = ~np.isnan(values)
    some = known.any(axis=1)
    low = np.where(known, values, np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=1, initial=-np.inf)
    zero = some & (low == 0) & (high == 0)
    constant = some & (low == high) & ~zero & (known.sum(axis=1) > 1)
    advice = "leave the cells empty where nothing was measured, or export the profile again"
    for wrong, found in ((zero, "every gene is zero"), (constant, "every gene has one value")):
        patients = table.index[wrong]
        for patient in patients[:_SHOWN]:
            problems.error(path, f"patient {patient}: {found}", advice, field="expression")
        if len(patients) > _SHOWN:
            problems.error(path, f"{len(patients) - _SHOWN} more patients: {found}", advice, field="expression")
    if not some.all():
        found = f"{int((~some).sum())} patients without any value, the first"
        problems.warn(path, found, "drop their rows, or fill them", field="expression", value=table.index[~some][0])


def _counts(site: Site) -> dict[str, int]:
    channels = {name: int(site.channels[name].notna().any(axis=1).sum()) for name in CHANNELS if name in site.channels}
    return {"patients": len(site.patients), **held(site).sum().astype(int).to_dict(), **channels}
