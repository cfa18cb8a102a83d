"""Suppression of small numbers: metrics of few patients, and counts of few."""

import re
from collections.abc import Mapping

from foundation.federation.policy.contract import SitePolicy

_OPERATIONAL = ("seconds", "steps")  # say nothing about patients
_CHANCE = re.compile(r"^(?P<pair>.+_to_.+)/chance@(?P<k>\d+)$")
_ALL = ("train", "validation")  # stages whose metrics are means over all patients


def suppress(
    policy: SitePolicy, metrics: Mapping[str, float], patients: int, behind: Mapping[str, int] | None = None
) -> dict[str, float]:
    """The metrics that may be sent.

    Args:
        policy: the site's.
        metrics: by name.
        patients: behind all of them together.
        behind: patients by metric, or by the part of its name before `/`, where they are fewer than all. Where it says
            nothing of a pair of modalities, its count is told from retrieval by chance (k of n); where that says
            nothing either, the metric is taken to be of too few.
    """
    least = policy.patients.metrics
    if least == 1:
        kept = dict(metrics)
    elif patients < least:
        kept = {name: value for name, value in metrics.items() if _operational(name)}
    else:
        known = {**_counts_of_pairs(metrics), **(behind or {})}
        kept = {
            name: value
            for name, value in metrics.items()
            if _operational(name) or _patients_behind(name, known, patients) >= least
        }
    if kept.get("patients", policy.patients.cell) < policy.patients.cell:
        del kept["patients"]
    return kept


def withhold(
    policy: SitePolicy, samples: Mapping[str, int], behind: Mapping[str, int] | None = None, epochs: int = 1
) -> dict[str, int]:
    """The samples by parameter group that may be told; the other groups' parameters stay at home with them.

    Args:
        policy: the site's.
        samples: by group, contributions of patients, each counted once a step.
        behind: patients by group, where that is known.
        epochs: how often any one patient can have been in a step: so many contributions may be of one.
    """
    known = behind or {}
    least = max(policy.patients.training, policy.patients.cell)
    return {
        group: count
        for group, count in samples.items()
        if count == 0 or (distinct(count, epochs) >= least and known.get(group, least) >= least)
    }


def distinct(samples: int, epochs: int) -> int:
    """As many different patients at least gave so many contributions, if none gave more than one an epoch."""
    return -(-samples // max(1, epochs))


def _operational(name: str) -> bool:
    return name in _OPERATIONAL or name.startswith("time/")


def _counts_of_pairs(metrics: Mapping[str, float]) -> dict[str, int]:
    """Patients behind retrieval and alignment of a pair; a modality has at least as many as any of its pairs."""
    counts: dict[str, int] = {}
    for name, chance in metrics.items():
        match = _CHANCE.match(name)
        if match and chance > 0:
            pair = match["pair"]
            patients = round(int(match["k"]) / chance)
            for key in (pair, pair.replace("_to_", "_"), *pair.split("_to_")):
                counts[key] = max(counts.get(key, 0), patients)
    return counts


def _patients_behind(name: str, known: Mapping[str, int], patients: int) -> int:
    if name in known:
        return known[name]
    part, slash, _ = name.partition("/")
    if not slash or part in _ALL:
        return patients
    return known.get(part, 0)
