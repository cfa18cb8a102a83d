"""Reports of all hospitals: outcomes that they give away, and identifiers that stand in them."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

from foundation.data.deidentify import scan_text
from foundation.data.leaks import leak_problems, leaking_text
from foundation.data.problems import Problems
from foundation.data.site import Site

_CHUNK = 2_000  # texts that a process scans at a time; fewer are scanned here
_MOST = 100_000  # texts scanned; of more an even sample


def check_leaks(site: Site, event_dates: "pd.Series[pd.Timestamp] | None", problems: Problems) -> None:
    """Outcome words in a hospital's reports.

    Args:
        site: the hospital.
        event_dates: of the event or the last follow-up, by patient, where known.
        problems: takes the findings.
    """
    if site.reports is not None and len(site.reports):
        findings = leaking_text(site.reports["text"], site.reports.get("date"), event_dates)
        problems.found += leak_problems(findings, site.files["reports"]).found


def check_identifiers(sites: list[Site], mask: bool, problems: Problems) -> None:
    """Identifiers in all reports: a line for each kind of a patient's, never what stands there.

    Args:
        sites: the hospitals.
        mask: whether packing masks them.
        problems: takes the findings.
    """
    advice = "nothing to do: packing masks it" if mask else "mask it: deidentify.text: mask, or leave the report out"
    owned = [(site, site.reports["text"]) for site in sites if site.reports is not None and len(site.reports)]
    total = sum(len(texts) for _, texts in owned)
    step = -(-total // _MOST) if total else 1
    for (site, texts), findings in zip(owned, _scan([texts.iloc[::step] for _, texts in owned]), strict=True):
        path = site.files["reports"]
        for (patient, kind), own in findings.groupby(["row", "kind"], sort=False):
            times = f", {len(own)} times" if len(own) > 1 else ""
            problems.warn(path, f"patient {patient}: {kind} in the text{times}", advice, field="text")
        if step > 1:
            found = f"identifiers were searched in one of {step} of {len(texts)} reports"
            problems.warn(path, found, "have them masked if the sample holds any", field="text")


def _scan(texts: "list[pd.Series[str]]") -> list[pd.DataFrame]:
    """Findings of each hospital; many texts in parallel processes."""
    if sum(map(len, texts)) <= _CHUNK:
        return [scan_text(own) for own in texts]
    parts = [
        (place, own.iloc[start : start + _CHUNK])
        for place, own in enumerate(texts)
        for start in range(0, len(own), _CHUNK)
    ]
    # Fresh processes: a copy of one that has threads can hang.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(scan_text, (part for _, part in parts)))
    places = np.array([place for place, _ in parts])
    return [pd.concat([found[index] for index in np.flatnonzero(places == place)]) for place in range(len(texts))]
