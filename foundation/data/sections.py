"""Sections of a cohort's page."""

import html
from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from foundation.data import pictures
from foundation.data.cohort import Cohort

Section = dict[str, Any]
Drawn = dict[str, list[str]]  # by hospital, the patients whose images and profiles are opened


def section(title: str, tables: list[pd.DataFrame], *figures: Figure, note: str = "") -> Section:
    """One section, as the template takes it."""
    return {
        "title": title,
        "note": note,
        "tables": [frame.rename_axis(index=None).to_html(border=0, na_rep="–", escape=True) for frame in tables],
        "figures": [{"url": pictures.as_data_url(figure), "alt": html.escape(title)} for figure in figures],
    }


def values_of(cohort: Cohort, drawn: Drawn, modality: str) -> Iterator[tuple[str, list[Any]]]:
    """By hospital, the raw values of those patients drawn who have a modality."""
    has = cohort.patients[modality]
    for hospital, patients in drawn.items():
        yield hospital, [cohort.sample(patient)[modality] for patient in patients if has[patient]]
