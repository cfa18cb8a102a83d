"""The validation of a cohort: every check over all hospitals, in one pass that names every problem."""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import Progress

from foundation.data import clinical_checks, declared_checks, patient_checks
from foundation.data.declaration import Declaration, HospitalColumn
from foundation.data.preparation import Preparation, in_reading_order, mentioned, preparations, who_has
from foundation.data.problems import Problem, Problems
from foundation.data.reading import read_sites
from foundation.data.site import Site
from foundation.data.tables import TableSource


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
        each = mentioned(sites)
        for site in bars.track(sites, description="Checking tables"):
            local = Problems()
            check_site(site, declaration, local)
            named = isinstance(declaration.hospitals, HospitalColumn)
            problems.listed += _at(site, local.listed) if named else local.listed
            counts[site.name] = _counts(site, each)
        patient_checks.check_across(sites, problems)
        if split is not None:
            patient_checks.check_split(sites, split, problems)
        for preparation in each:
            preparation.check_together(sites, declaration, problems, bars, images)
    return Validation(declaration, sites, problems, counts)


def check_site(site: Site, declaration: Declaration, problems: Problems) -> None:
    """What one hospital's tables can have wrong by themselves."""
    dictionary, path = declaration.dictionary, site.files["patients"]
    problems.listed += clinical_checks.check_labels(site.patients, dictionary.labels, path)
    if dictionary.survival:
        problems.listed += clinical_checks.check_survival(site.patients, path, **dictionary.survival)
        declared_checks.check_declared(site.patients, declaration, path, problems)
    dates = clinical_checks.date_columns(site.patients)
    problems.listed += clinical_checks.check_dates(site.patients, path, *dates)
    for preparation in in_reading_order():
        preparation.check(site, declaration, problems)
    patient_checks.check_presence(site, who_has(site, list(preparations().values())), problems)


def _at(site: Site, problems: list[Problem]) -> list[Problem]:
    """Findings that name the hospital, for several hospitals share the file."""
    return [replace(problem, finding=f"at {site.name}, {problem.finding}") for problem in problems]


def _counts(site: Site, each: list[Preparation]) -> dict[str, int]:
    counts = {"patients": len(site.patients), **who_has(site, each).sum().astype(int).to_dict()}
    for preparation in each:
        counts |= preparation.counts(site)
    return counts
