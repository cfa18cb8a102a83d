"""Reports of all hospitals: outcomes that they give away, and identifiers that stand in them."""

import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from foundation.data.identifiers import scan_text
from foundation.data.problems import Problems
from foundation.modalities.report.leaks import leak_problems, leaking_text
from foundation.modalities.report.vocabulary import LENGTH, WINDOWS, coverage, learn_pieces, word_pieces

_LONG_NUMBER = re.compile(r"(?<![\w.,])\d(?:[ ./-]?\d){6,}(?![\w]|[.,]\d)")
_CHUNK = 2_000  # texts that a process scans at a time; fewer are scanned here
_READ = 5_000  # texts, an even sample, of which it is told how well the vocabulary has their words
_MOST = 100_000  # texts scanned; of more an even sample


def check_leaks(
    reports: pd.DataFrame, path: Path, event_dates: "pd.Series[pd.Timestamp] | None", problems: Problems
) -> None:
    """Outcome words in a hospital's reports.

    Args:
        reports: `text`, and `date` where known, by patient.
        path: where they were read.
        event_dates: of the event or the last follow-up, by patient, where known.
        problems: takes the findings.
    """
    findings = leaking_text(reports["text"], reports.get("date"), event_dates)
    problems.listed += leak_problems(findings, path).listed


def check_identifiers(each: "list[tuple[pd.Series[str], Path]]", mask: bool, problems: Problems) -> None:
    """Identifiers in all reports: a line for each kind of a patient's, never what stands there.

    Args:
        each: a hospital's texts, by patient, and where they were read.
        mask: whether packing masks them.
        problems: takes the findings.
    """
    advice = "nothing to do: packing masks it" if mask else "mask it: deidentify.text: mask, or leave the report out"
    total = sum(len(texts) for texts, _ in each)
    step = -(-total // _MOST) if total else 1
    for (texts, path), findings in zip(each, _scan([texts.iloc[::step] for texts, _ in each]), strict=True):
        _note_unsure(texts.iloc[::step], findings, path, problems)
        for (patient, kind), rows in findings.groupby(["row", "kind"], sort=False):
            times = f", {len(rows)} times" if len(rows) > 1 else ""
            problems.warn(path, f"patient {patient}: {kind} in the text{times}", advice, field="text")
        if step > 1:
            finding = f"identifiers were searched in one of {step} of {len(texts)} reports"
            problems.warn(path, finding, "have them masked if the sample holds any", field="text")


def check_coverage(each: "list[tuple[pd.Series[str], Path]]", problems: Problems) -> None:
    """How much of reports an encoder reads by default, with a vocabulary of these very reports; a warning if not all.

    Args:
        each: a hospital's texts, by patient, and where they were read.
        problems: takes the figures.
    """
    total = sum(len(texts) for texts, _ in each)
    step = -(-total // _READ) if total else 1
    pieces = learn_pieces(text for texts, _ in each for text in texts.iloc[::step])
    tokenizer = word_pieces(pieces)
    for texts, path in each:
        read = coverage(texts.iloc[::step], tokenizer, LENGTH, WINDOWS)
        rule = f"reports looked at: {read['whole_words']:.1%} of {read['words']} words are one piece of the vocabulary"
        problems.tell(path, f"{rule}, {read['read']:.1%} of pieces are read", read["reports"], "text")
        if read["read_whole"] < 1:
            finding = (
                f"{1 - read['read_whole']:.1%} of reports are longer than is read, {read['pieces']} pieces at most"
            )
            problems.warn(path, finding, "raise modality.report.max_windows, or leave out what is copied", field="text")


def _note_unsure(texts: "pd.Series[str]", findings: pd.DataFrame, path: Path, problems: Problems) -> None:
    """Long numbers that have the form of no identifier, and may be one."""
    spans = {patient: rows[["start", "end"]].to_numpy() for patient, rows in findings.groupby("row", sort=False)}
    unsure = []
    for patient, text in texts.items():
        if not isinstance(text, str):
            continue
        taken = spans.get(patient, ())
        matches = (match.span() for match in _LONG_NUMBER.finditer(text))
        if any(all(end <= start or stop <= begin for start, stop in taken) for begin, end in matches):
            unsure.append(patient)
    if unsure:
        finding = f"{len(unsure)} reports hold long numbers that may be identifiers and are not masked, the first of"
        problems.warn(path, f"{finding} patient {unsure[0]}", "read some of them", field="text")


def _scan(texts: "list[pd.Series[str]]") -> list[pd.DataFrame]:
    """Findings of each hospital; many texts in parallel processes."""
    if sum(map(len, texts)) <= _CHUNK:
        return [scan_text(column) for column in texts]
    parts = [
        (place, column.iloc[start : start + _CHUNK])
        for place, column in enumerate(texts)
        for start in range(0, len(column), _CHUNK)
    ]
    # Fresh processes: a copy of one that has threads can hang.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        findings = list(pool.map(scan_text, (part for _, part in parts)))
    places = np.array([place for place, _ in parts])
    return [pd.concat([findings[index] for index in np.flatnonzero(places == place)]) for place in range(len(texts))]
