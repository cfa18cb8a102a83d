"""Genomics on a cohort's page: how expression differs by hospital."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from foundation.data import pictures
from foundation.data.cohort import Cohort
from foundation.data.sections import Drawn, Section, section, values_of


def describe(cohort: Cohort, drawn: Drawn) -> Section | None:
    """Typical expression of a patient by hospital, and patients on the two main axes of their profiles."""
    genes = len(cohort.dictionary.genes)
    profiles = {
        name: np.array([raw["expression"] for raw in each]).reshape(len(each), genes)
        for name, each in values_of(cohort, drawn, "genomics")
    }
    profiles = {name: rows[~np.isnan(rows).all(axis=1)] for name, rows in profiles.items()}
    profiles = {name: rows for name, rows in profiles.items() if len(rows)}
    if not profiles:
        return None
    unit = cohort.dictionary.expression_unit
    typical = {name: np.nanmedian(rows, axis=1) for name, rows in profiles.items()}
    figures = [pictures.boxes(typical, f"median {unit} a patient")]
    everybody = np.concatenate(list(profiles.values()))
    complete = ~np.isnan(everybody).any(axis=0)
    if complete.sum() > 1 and len(everybody) > 2:
        components = PCA(2, svd_solver="full").fit_transform(StandardScaler().fit_transform(everybody[:, complete]))
        cuts = np.cumsum([len(rows) for rows in profiles.values()])[:-1]
        points = dict(zip(profiles, np.split(components, cuts), strict=True))
        figures.append(pictures.scatter(points, "first component", "second component"))
    note = f"{int(complete.sum())} of {genes} genes are known of every patient drawn here."
    return section("Expression", [], *figures, note=note)
