"""Sections of a cohort's page."""

import html
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from foundation.data import pictures
from foundation.data.cohort import Cohort

Section = dict[str, Any]
_HEADER = re.compile(r"<th\b")
Drawn = dict[str, list[str]]  # by hospital, the patients whose images and profiles are opened


def section(title: str, tables: list[pd.DataFrame], *figures: Figure, note: str = "") -> Section:
    """One section, as the template takes it."""
    return {
        "title": title,
        "note": note,
        "tables": [_table(frame, title) for frame in tables],
        "figures": [{"url": pictures.as_data_url(figure), "alt": html.escape(title)} for figure in figures],
    }


def _table(frame: pd.DataFrame, title: str) -> str:
    """A table as HTML whose heads say what they head, and which a keyboard scrolls where it is wider than the page."""
    text = frame.rename_axis(index=None).to_html(border=0, na_rep="–", escape=True)
    head, end, body = text.replace("<th></th>", "<td></td>").partition("</thead>")
    scoped = _HEADER.sub('<th scope="col"', head) + end + _HEADER.sub('<th scope="row"', body)
    name = html.escape(title, quote=True)
    return f'<div class="scroll" tabindex="0" role="group" aria-label="table: {name}">{scoped}</div>'


def values_of(cohort: Cohort, drawn: Drawn, modality: str) -> Iterator[tuple[str, list[Any]]]:
    """By hospital, the raw values of those patients drawn who have a modality."""
    has = cohort.patients[modality]
    for hospital, patients in drawn.items():
        yield hospital, [cohort.sample(patient, [modality])[modality] for patient in patients if has[patient]]
