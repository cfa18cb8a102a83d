"""The page of a prepared cohort: its hospitals side by side, in HTML."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from lifelines.statistics import multivariate_logrank_test
from matplotlib.figure import Figure
from rich.progress import track

from foundation.data import pictures
from foundation.data.cohort import Cohort
from foundation.data.dictionary import read_prepared
from foundation.data.packages import modules
from foundation.data.sections import Section, section
from foundation.data.storage import storages

_TEMPLATES = Path(__file__).with_name("templates")
_PATIENTS = 200  # a hospital, drawn by seed, whose images and profiles are opened


def describe(cohort: Cohort, seed: int = 0) -> str:
    """The page.

    Args:
        cohort: prepared.
        seed: of the patients whose images and profiles are opened, where a hospital has many.
    """
    table = cohort.patients
    sections: list[Section | None] = [
        _provenance(cohort),
        section("Who has what", [_patients(cohort)], pictures.upset(table[cohort.modalities].astype(bool))),
        section("Outcomes", [_outcomes(cohort)], *_survival(cohort)),
    ]
    drawn = {name: _draw(table.index[table["hospital"] == name], seed) for name in cohort.hospitals}
    described = [name for name in cohort.modalities if name in modules("description")]
    for name in track(described, "Describing", transient=True):
        sections.append(modules("description")[name].describe(cohort, drawn))
    page = Environment(loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, autoescape=True)
    return page.get_template("describe.html.jinja").render(cohort=cohort, sections=[s for s in sections if s])


def _provenance(cohort: Cohort) -> Section | None:
    """How patients came into the cohort, and what was done to their data; None of a cohort that does not say."""
    content = read_prepared(cohort.folder)
    ways, steps = content.get("flow"), content.get("provenance")
    if not ways:
        return None
    tables = [pd.DataFrame(ways).set_index("step")]
    tables += [pd.DataFrame(steps)[["rule", "field", "count"]].set_index("rule")] if steps else []
    return section("How patients came here", tables, pictures.flow([(way["step"], way["patients"]) for way in ways]))


def _patients(cohort: Cohort) -> pd.DataFrame:
    groups = cohort.patients.groupby("hospital", sort=False)
    table = groups[cohort.modalities].sum().astype(int)
    table.insert(0, "patients", groups.size())
    for name in cohort.modalities:
        if storages()[name].stored:
            table[f"{name} images"] = groups[f"{name}_count"].sum().astype(int)
    return _with_total(table)


def _outcomes(cohort: Cohort) -> pd.DataFrame:
    groups = cohort.patients.groupby("hospital", sort=False)
    columns: dict[str, Any] = {}
    for label in cohort.dictionary.labels:
        columns[f"{label} known"] = groups[label].count()
        classes = sorted(cohort.patients[label].dropna().unique())
        if set(classes) <= {0, 1} or label in cohort.dictionary.quantities:
            columns[f"{label} mean"] = groups[label].mean().round(3)
            continue
        for index in classes:  # of several classes the mean says nothing
            share = cohort.patients[label].eq(index).where(cohort.patients[label].notna()).astype(float)
            columns[f"{label} is {index:g}"] = share.groupby(cohort.patients["hospital"], sort=False).mean().round(3)
    if cohort.dictionary.survival:
        event, time = (cohort.dictionary.survival[key] for key in ("event", "time"))
        columns["followed"] = groups[time].count().astype(int)
        columns["events"] = groups[event].sum().astype(int)
        columns["median days"] = groups[time].median().round()
    return pd.DataFrame(columns)


def _with_total(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.sum().to_frame("all").T])


def _survival(cohort: Cohort) -> list[Figure]:
    if not cohort.dictionary.survival:
        return []
    event, time = (cohort.dictionary.survival[key] for key in ("event", "time"))
    known = cohort.patients[cohort.patients[[event, time]].notna().all(axis=1)]
    if known.empty:
        return []
    figure = pictures.survival(known, event, time)
    if known["hospital"].nunique() > 1 and known[event].any():
        test = multivariate_logrank_test(known[time], known["hospital"], known[event])
        figure.suptitle(f"log-rank test over hospitals: p = {test.p_value:.2g}", fontsize=10)
    return [figure]


def _draw(patients: "pd.Index[str]", seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(patients))[:_PATIENTS]
    return [patients[index] for index in sorted(order)]
