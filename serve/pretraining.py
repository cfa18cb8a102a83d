"""What run records tell of training: who trained what, and how well it retrieves at hospitals left out."""

import re
from collections.abc import Iterable
from typing import Any

_RECALL = re.compile(r"(\w+)_to_(\w+)/r@(5)")


def samples(record: dict[str, Any]) -> dict[str, Any]:
    """Patients that trained each modality, counted once a step, in the last round: by site, by modality.

    Args:
        record: `run.json` of `python -m pretrain` or `python -m pretrain.federated`.
    """
    samples = record["notes"].get("samples", {})
    by_site = samples if all(isinstance(value, dict) for value in samples.values()) else {"all sites pooled": samples}
    modalities = sorted({name for counts in by_site.values() for name in counts if ":" not in name} - {"fusion"})
    return {"modalities": modalities, "sites": {site: [c.get(m) for m in modalities] for site, c in by_site.items()}}


def taught(records: Iterable[dict[str, Any]]) -> set[str]:
    """The modalities, among other parameter groups, that any patient trained.

    Args:
        records: `run.json` of a run and of those that it builds on.
    """
    names: set[str] = set()
    for record in records:
        notes = record.get("notes", {})
        samples = notes.get("samples", {})
        by_site = samples.values() if all(isinstance(value, dict) for value in samples.values()) else [samples]
        names |= {name for counts in by_site for name, count in counts.items() if count}
        names |= {name for name, count in notes.get("modalities", {}).items() if count}
        # Sites whose updates were summed in secret say nothing one by one.
        names |= {name for name, shares in notes.get("coverage", {}).items() if any(shares.values())}
    return names


def held_out(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Loss and retrieval at each hospital that never trained."""
    hospitals = record["config"]["data"]["test_hospitals"]
    metrics = record["metrics"]
    if "evaluation" in metrics:
        by_hospital = {name: metrics["evaluation"][name] for name in hospitals if name in metrics["evaluation"]}
    else:
        by_hospital = {", ".join(hospitals): metrics["held_out"]} if "held_out" in metrics else {}
    return [
        {"hospital": name, "patients": int(metrics["patients"]), "loss": metrics.get("loss"), "pairs": _pairs(metrics)}
        for name, metrics in by_hospital.items()
    ]


def _pairs(metrics: dict[str, float]) -> list[dict[str, Any]]:
    pairs = []
    for key, recall in metrics.items():
        match = _RECALL.fullmatch(key)
        if match:
            source, target, k = match.groups()
            chance = metrics[f"{source}_to_{target}/chance@{k}"]
            pairs.append({"source": source, "target": target, "k": int(k), "recall": recall, "chance": chance})
    return pairs
