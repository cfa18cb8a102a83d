"""The validation of a cohort: every check over all hospitals, in one pass that names every problem."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.progress import Progress

from foundation.data import clinical_checks, declared_checks, patient_checks
from foundation.data.declaration import Declaration, HospitalColumn
from foundation.data.preparation import Preparation, in_reading_order, mentioned, preparations, who_has
from foundation.data.problems import Problem, Problems
from foundation.data.provenance import flow
from foundation.data.reading import read_sites
from foundation.data.site import Site
from foundation.data.split_file import SplitSource

_NAMED = 4  # hospitals of one finding


@dataclass
class Validation:
    """What was found.

    Attributes:
        declaration: of the cohort.
        sites: as read.
        problems: every one.
        counts: by hospital, patients and how many have each modality.
        flow: the patients' way into the cohort; see `foundation.data.provenance`.
    """

    declaration: Declaration
    sites: list[Site]
    problems: Problems
    counts: dict[str, dict[str, int]]
    flow: list[dict[str, Any]] = field(default_factory=list)


def validate(
    root: Path, declaration: Declaration, images: bool = True, split: SplitSource | None = None, progress: bool = True
) -> Validation:
    """Reads and checks a whole cohort.

    Args:
        root: the cohort's folder.
        declaration: of it.
        images: whether every image is opened and compared across patients.
        split: the table of a split.
        progress: whether to draw bars.
    """
    problems = Problems()
    counts = {}
    with Progress(transient=True, disable=not progress) as bars:
        sites = read_sites(root, declaration, problems, bars)
        each = mentioned(sites)
        by_site: dict[str, list[Problem]] = {}
        for site in bars.track(sites, description="Checking tables"):
            local = Problems()
            check_site(site, declaration, local)
            by_site[site.name] = local.listed
            counts[site.name] = _counts(site, each)
        if isinstance(declaration.hospitals, HospitalColumn) and sites:
            problems.listed += _of_one_file(by_site)
            everybody = pd.concat([site.patients for site in sites])
            declared_checks.check_declared(everybody, declaration, sites[0].files["patients"], problems)
        else:
            problems.listed += [problem for listed in by_site.values() for problem in listed]
            for site in sites:
                declared_checks.check_declared(site.patients, declaration, site.files["patients"], problems)
        patient_checks.check_across(sites, problems)
        if split is not None:
            patient_checks.check_split(sites, split, problems)
        for preparation in each:
            preparation.check_together(sites, declaration, problems, bars, images)
    return Validation(declaration, sites, problems, counts, _flow(sites, declaration, problems))


def _flow(sites: list[Site], declaration: Declaration, problems: Problems) -> list[dict[str, Any]]:
    each = list(preparations().values())
    who = pd.concat([who_has(site, each) for site in sites]) if sites else pd.DataFrame()
    outcomes = [*declaration.dictionary.labels, *declaration.dictionary.survival.values()]
    return flow(sites, problems.steps, outcomes, who)


def check_site(site: Site, declaration: Declaration, problems: Problems) -> None:
    """What one hospital's tables can have wrong by themselves."""
    dictionary, path = declaration.dictionary, site.files["patients"]
    problems.listed += clinical_checks.check_labels(site.patients, dictionary.labels, path, dictionary.quantities)
    if dictionary.survival:
        problems.listed += clinical_checks.check_survival(site.patients, path, **dictionary.survival)
    dates = clinical_checks.date_columns(site.patients)
    problems.listed += clinical_checks.check_dates(site.patients, path, *dates)
    for preparation in in_reading_order():
        preparation.check(site, declaration, problems)
    patient_checks.check_presence(site, who_has(site, list(preparations().values())), problems)


def _of_one_file(by_site: dict[str, list[Problem]]) -> list[Problem]:
    """Findings of hospitals that share their files, each named with its hospitals; the same at several is one."""
    where: dict[Problem, list[str]] = {}
    for name, problems in by_site.items():
        for problem in problems:
            where.setdefault(problem, []).append(name)
    return [replace(problem, finding=f"at {_some(names)}, {problem.finding}") for problem, names in where.items()]


def _some(names: list[str]) -> str:
    """Hospitals as a line can name them."""
    if len(names) <= _NAMED:
        return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    return f"{len(names)} hospitals ({', '.join(names[:_NAMED])}, ...)"


def _counts(site: Site, each: list[Preparation]) -> dict[str, int]:
    counts = {"patients": len(site.patients), **who_has(site, each).sum().astype(int).to_dict()}
    for preparation in each:
        counts |= preparation.counts(site)
    return counts
