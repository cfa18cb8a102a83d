"""What a prepared cohort looks like, hospital by hospital, on one page of HTML."""

import html
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from lifelines.statistics import multivariate_logrank_test
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.progress import track

from foundation.data import pictures
from foundation.data.cohort import MODALITIES, Cohort

_TEMPLATES = Path(__file__).with_name("templates")
_IMAGES = 4  # a patient, enough for a mean colour
_PATIENTS = 200  # a hospital, drawn by seed, whose images and profiles are opened


def describe(cohort: Cohort, seed: int = 0) -> str:
    """The page.

    Args:
        cohort: prepared.
        seed: of the patients whose images and profiles are opened, where a hospital has many.
    """
    table = cohort.patients
    sections: list[dict[str, Any] | None] = [
        _section("Who has what", [_patients(cohort)], pictures.upset(table[list(MODALITIES)].astype(bool))),
        _section("Outcomes", [_outcomes(cohort)], *_survival(cohort)),
    ]
    drawn = {name: _draw(table.index[table["hospital"] == name], seed) for name in cohort.hospitals}
    sections += [_expression(cohort, drawn), _colours(cohort, drawn), _record(cohort)]
    page = Environment(loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, autoescape=True)
    return page.get_template("describe.html.jinja").render(cohort=cohort, sections=[s for s in sections if s])


def _section(title: str, tables: list[pd.DataFrame], *figures: Figure, note: str = "") -> dict[str, Any]:
    return {
        "title": title,
        "note": note,
        "tables": [frame.rename_axis(index=None).to_html(border=0, na_rep="–", escape=True) for frame in tables],
        "figures": [{"url": pictures.as_data_url(figure), "alt": html.escape(title)} for figure in figures],
    }


def _patients(cohort: Cohort) -> pd.DataFrame:
    groups = cohort.patients.groupby("hospital", sort=False)
    table = groups[list(MODALITIES)].sum().astype(int)
    table.insert(0, "patients", groups.size())
    for name in ("pathology", "radiology"):
        table[f"{name} images"] = groups[f"{name}_count"].sum().astype(int)
    return _with_total(table)


def _outcomes(cohort: Cohort) -> pd.DataFrame:
    groups = cohort.patients.groupby("hospital", sort=False)
    columns: dict[str, Any] = {}
    for label in cohort.dictionary.labels:
        known, positive = groups[label].count(), groups[label].sum()
        columns[f"{label} known"] = known.astype(int)
        columns[f"{label} mean"] = (positive / known.where(known > 0)).round(3)
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


def _expression(cohort: Cohort, drawn: dict[str, list[str]]) -> dict[str, Any] | None:
    """Typical expression of a patient by hospital, and patients on the two main axes of their profiles."""
    has = cohort.patients["genomics"]
    profiles = {
        name: np.stack([cohort.sample(patient)["genomics"]["expression"] for patient in own])
        for name, patients in drawn.items()
        if (own := [patient for patient in patients if has[patient]])
    }
    profiles = {name: rows[~np.isnan(rows).all(axis=1)] for name, rows in profiles.items()}
    profiles = {name: rows for name, rows in profiles.items() if len(rows)}
    if not profiles:
        return None
    unit = cohort.dictionary.expression_unit
    typical = {name: np.nanmedian(rows, axis=1) for name, rows in profiles.items()}
    figures = [pictures.boxes(typical, f"median {unit} a patient")]
    everybody = np.concatenate(list(profiles.values()))
    genes = ~np.isnan(everybody).any(axis=0)
    if genes.sum() > 1 and len(everybody) > 2:
        components = _principal(everybody[:, genes])
        cuts = np.cumsum([len(rows) for rows in profiles.values()])[:-1]
        points = dict(zip(profiles, np.split(components, cuts), strict=True))
        figures.append(pictures.scatter(points, "first component", "second component"))
    note = f"{int(genes.sum())} of {len(cohort.dictionary.genes)} genes are known of every patient drawn here."
    return _section("Expression", [], *figures, note=note)


def _principal(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Standardised genes on their first two principal components: `[patients, 2]`."""
    spread = rows.std(axis=0)
    scaled = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)
    left, size, _ = np.linalg.svd(scaled, full_matrices=False)
    return np.asarray((left * size)[:, :2])


def _colours(cohort: Cohort, drawn: dict[str, list[str]]) -> dict[str, Any] | None:
    """Mean colour of pathology (stain) and brightness of radiology, a dot or a value a patient."""
    stain: dict[str, list[NDArray[np.floating]]] = {}
    light: dict[str, list[float]] = {}
    for name, patients in track(drawn.items(), "Images", transient=True):
        for patient in patients:
            sample = cohort.sample(patient)
            if "pathology" in sample and sample["pathology"].dtype == np.uint8:
                stain.setdefault(name, []).append(_density(sample["pathology"][:_IMAGES]))
            if "radiology" in sample:
                light.setdefault(name, []).append(float(np.mean(sample["radiology"][:_IMAGES])))
    figures = []
    if stain:
        points = {name: np.stack(values)[:, [0, 1]] for name, values in stain.items()}
        figures.append(pictures.scatter(points, "optical density in red (haematoxylin)", "in green (eosin)"))
    if light:
        values = {name: np.array(own) for name, own in light.items()}
        figures.append(pictures.boxes(values, "mean brightness of radiology, 0 to 255"))
    note = "Stain and scanner differ by hospital: hospitals apart here can be told apart by a model, too."
    return _section("Images", [], *figures, note=note) if figures else None


def _density(images: NDArray[np.uint8]) -> NDArray[np.floating]:
    """Mean optical density by channel `[3]` (Ruifrok and Johnston 2001)."""
    return np.asarray(-np.log10((images.astype(np.float32) + 1) / 256).mean(axis=(0, 1, 2)))


def _record(cohort: Cohort) -> dict[str, Any] | None:
    """By hospital: the median of each number, the commonest level of each category, and how many are known."""
    held = cohort.patients[cohort.patients["record"]]
    if held.empty:
        return None
    values = pd.DataFrame([cohort.sample(patient)["record"] for patient in held.index], index=held.index)
    columns: dict[str, Any] = {}
    for column in cohort.dictionary.record:
        groups = values[column.name].groupby(held["hospital"], sort=False)
        columns[f"{column.name} known"] = groups.count()
        if column.kind == "continuous":
            columns[column.name] = values[column.name].astype(float).groupby(held["hospital"], sort=False).median()
        else:
            columns[column.name] = groups.agg(_commonest)
    return _section("Record", [pd.DataFrame(columns)], note="Medians of numbers, commonest level of categories.")


def _commonest(values: "pd.Series[Any]") -> str:
    counts = values.value_counts(normalize=True)
    return "–" if counts.empty else f"{counts.index[0]} ({counts.iloc[0]:.0%})"
