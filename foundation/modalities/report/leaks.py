"""Outcome words in reports: what a model would read off instead of predicting."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.problems import Problems

# Cheap to find; the expression below is tried only where one of them stands.
_ROOTS = (
    "decease",
    "died",
    "dead",
    "expired",
    "death",
    "demise",
    "passed away",
    "autops",
    "necrops",
    "mortem",
    "relaps",
    "recur",
    "lost to follow",
    "surviv",
)
_WORDS = re.compile(
    r"""\b(?:
    deceased | died | dead | expired | demise | passed\ away
    | death (?!\s+(?:ligand|receptor|domain|protein|pathway)) | date\ of\ death
    | autops(?:y|ies) | necropsy | post-?\s?mortem
    | relaps(?:e|ed|es|ing) | recurred | recurrences? (?!\s+scor)
    | recurrent (?=\s+(?:\w+\s+){0,2}(?:disease|tumou?r|cancer|carcinoma|glioma|glioblastoma|sarcoma|lymphoma|melanoma))
    | lost\s+to\s+follow-?\s?up
    | surviv(?:ed|al|or)\b (?=[^.\n]{0,40}?\b\d+(?:\.\d+)?\s*(?:days?|weeks?|months?|years?|yrs?)\b)
    | (?:overall|disease-free|progression-free)\s+survival
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_NOT_THE_PATIENT = re.compile(
    r"(?:\bcell(?:ular)?|programmed(?:\s+cell)?|\bPD-?1?|brain(?:stem)?)\W+$"
    r"|\b(?:mother|father|parents?|sister|brother|siblings?|aunt|uncle|grand\w+|husband|wife|relatives?|family)\b[^.\n]*$",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:no|not|without|never|denies|negative\s+for|absence\s+of|free\s+of|rule[sd]?\s+out|risk\s+of|risk\s+for|to\s+prevent)\b"
    r"(?:\W+\w+){0,5}?\W*$",
    re.IGNORECASE,
)
_BEFORE = 80  # characters of the same sentence that can turn a word's meaning


def leaking_text(
    texts: "pd.Series[str]",
    dates: "pd.Series[pd.Timestamp] | None" = None,
    event_dates: "pd.Series[pd.Timestamp] | None" = None,
) -> pd.DataFrame:
    """Outcome words in reports (English).

    Args:
        texts: by patient.
        dates: of the reports, by patient, where known.
        event_dates: of the event or the last follow-up, by patient, where known.

    Returns:
        A row a finding: `patient_id`, `word`, `start`, `end` (characters), `severity`: `error` where the report was
        written on or after the event, `warning` otherwise, `note` where the sentence denies it or speaks of a relative
        or of cells.
    """
    late = _late(texts.index, dates, event_dates)
    rows: list[tuple[Any, str, int, int, str]] = []
    for patient, text in texts.items():
        if not isinstance(text, str):
            continue
        low = text.lower()
        if not any(root in low for root in _ROOTS):
            continue
        for match in _WORDS.finditer(text):
            before = re.split(r"[.;\n]\s", text[max(0, match.start() - _BEFORE) : match.start()])[-1]
            denied = _DENIED.search(before) or _NOT_THE_PATIENT.search(before)
            severity = "note" if denied else "error" if patient in late else "warning"
            rows.append((patient, match.group().lower(), match.start(), match.end(), severity))
    return pd.DataFrame(rows, columns=["patient_id", "word", "start", "end", "severity"])


def leak_problems(findings: pd.DataFrame, path: Path | str) -> Problems:
    """Findings as problems: one a patient, the gravest; those that are denied in one line together."""
    problems = Problems()
    advice = "leave this report out, or cut what was written after the prediction is made"
    grave = findings[findings["severity"] != "note"]
    for patient, rows in grave.sort_values("severity", kind="stable").groupby("patient_id", sort=False):
        words = ", ".join(dict.fromkeys(rows["word"]))
        if rows["severity"].iloc[0] == "error":
            finding = f"patient {patient}: outcome words in a report written on or after the event"
            problems.error(path, finding, advice, field="text", value=words)
        else:
            problems.warn(path, f"patient {patient}: outcome words in the report", advice, field="text", value=words)
    notes = findings[findings["severity"] == "note"]
    if len(notes):
        count = notes["patient_id"].nunique()
        words = ", ".join(notes["word"].value_counts().index[:4])
        finding = f"reports of {count} patients deny outcome words, or say them of others"
        problems.warn(path, finding, "read a few to be sure", field="text", value=words)
    return problems


def _late(
    patients: "pd.Index[str]",
    dates: "pd.Series[pd.Timestamp] | None",
    event_dates: "pd.Series[pd.Timestamp] | None",
) -> set[Any]:
    if dates is None or event_dates is None:
        return set()
    written = pd.to_datetime(dates).groupby(level=0).max().reindex(patients.unique())
    ended = pd.to_datetime(event_dates).groupby(level=0).min().reindex(patients.unique())
    return set(written.index[(written >= ended).to_numpy()])
