"""Folders of runs as the commands leave them, with every kind of fact that a report may meet."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from foundation.files import write_json

SITES = ("riverside", "northgate", "lakeview", "summit")
LACKS = {"northgate": ("genomics",), "lakeview": ("pathology", "radiology")}
GROUPS = (
    *("pathology", "radiology", "genomics", "report", "record", "fusion"),
    *("objective:alignment", "objective:masked_genes"),
)
_PATIENTS = {"riverside": 56, "northgate": 48, "lakeview": 48, "summit": 62}
_SIZE = 5_231_904


def record(command: str = "python -m pretrain.federated", **changes: Any) -> dict[str, Any]:
    return {
        "command": command,
        "config": {
            "federated_task": {"_target_": "pretrain.federated.task.Pretraining"},
            "sites": list(SITES),
            "rounds": 8,
            "steps_per_round": 16,
            "data": {"test_hospitals": ["summit"]},
            "strategy": {"_target_": "foundation.federation.strategies.averaging.FedProx", "proximal": 0.01},
            "compression": {"_target_": "foundation.federation.wire.compression.Compressor", "kind": "int8"},
        },
        "code": {"version": "0.1.0", "commit": "0123456789abcdef", "dirty": False},
        "data": {"name": "demo", "digest": "d" * 64, "synthetic": True, "hospitals": list(SITES)},
        "seed": 0,
        "started": "2026-11-20T09:30:00+00:00",
        "status": "finished",
        "seconds": 402.5,
        "metrics": {},
        "notes": {},
        "builds_on": [],
    } | changes


def rounds(count: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """Three sites train and a fourth is held out; some are absent, decline, are late or are refused."""
    rng = np.random.default_rng(seed)
    return [_round(number, rng) for number in range(1, count + 1)]


def _round(number: int, rng: np.random.Generator) -> dict[str, Any]:
    absent = {}
    if number == 3:
        absent["northgate"] = "no answer within 120 s"
    if number in (5, 6):
        absent["lakeview"] = "declined: the policy allows 4 rounds a day, this is the fifth <ask the data office>"
    if number == 7:
        absent["riverside"] = "update refused: NaN in encoder.modalities.pathology.backbone.conv1.weight"
    here = [site for site in SITES[:3] if site not in absent]
    training = {site: _training(site, number, rng) for site in here}
    evaluation = {site: _evaluation(site, number, rng) for site in SITES if site not in absent or number == 7}
    if number == 4:
        del evaluation["northgate"]
        absent["northgate"] = "evaluation: no answer within 120 s"
    longest = max(own["metrics"]["seconds"] for own in training.values())
    phase = longest + rng.uniform(2, 5)
    scoring = 4 + rng.uniform(0, 2)
    facts = {
        "round": number,
        "started": f"2026-11-20T09:{30 + number}:00+00:00",
        "coverage": {group: _shares(group, training) for group in GROUPS},
        "training": training,
        "evaluation": evaluation,
        "absent": absent,
        "drift": {group: 0.75 * math.exp(-number / 9) + rng.normal(0, 0.05) - 0.1 for group in GROUPS},
        "privacy": {
            "epsilon": 0.8 * number**0.6,
            "delta": 1e-5,
            "noise": 1.1,
            "clip": 1.0,
            "assumptions": ["sites take part at random", "one update a site and round", "the server adds no noise"],
        },
        "seconds": {"training": phase, "aggregation": 1.2 + rng.uniform(0, 0.3), "evaluation": scoring},
    }
    facts["seconds"]["total"] = sum(facts["seconds"].values()) + 0.9
    return facts


def _shares(group: str, training: dict[str, Any]) -> dict[str, float]:
    samples = {site: own["samples"].get(group, 0) for site, own in training.items()}
    total = sum(samples.values())
    return {site: count / total for site, count in samples.items() if count}


def _training(site: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
    own = [group for group in GROUPS if group not in LACKS.get(site, ())]
    if "genomics" not in own:
        own.remove("objective:masked_genes")
    slow = {"riverside": 30.0, "northgate": 41.0, "lakeview": 12.0}[site]
    loss = 3.1 * math.exp(-number / 6) + 0.9 + rng.normal(0, 0.05)
    return {
        "samples": {group: int(_PATIENTS[site] * rng.uniform(0.8, 1)) for group in own},
        "metrics": {"train/loss_epoch": loss, "seconds": slow + rng.uniform(-2, 2), "steps": 16.0},
        "bytes": {"to_site": _SIZE, "from_site": int(_SIZE * 0.258)},
        "norms": {group: float(rng.uniform(0.2, 0.6)) / number**0.3 for group in own},
    }


def _evaluation(site: str, number: int, rng: np.random.Generator) -> dict[str, float]:
    start = 3.3 if site == "summit" else 3.0
    found = {"patients": 10.0, "loss": start * math.exp(-number / 7) + 1.1 + rng.normal(0, 0.05), "seconds": 3.1}
    for pair, most in (("pathology_to_report", 0.6), ("record_to_report", 0.5)):
        found |= {
            f"{pair}/chance@5": 0.1,
            f"{pair}/r@5": 0.1 + most * (1 - math.exp(-number / 4)) * rng.uniform(0.9, 1),
        }
    return found


def write_run(folder: Path, content: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    """A federated run."""
    content = rounds() if content is None else content
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {"evaluation": content[-1].get("evaluation", {})} if content else {}
    write_json(folder / "run.json", record(**{"metrics": metrics, **changes}))
    write_json(folder / "history.json", {"config_digest": "c" * 64, "rounds": content})
    return folder


def write_other(folder: Path, hospitals: list[str], loss: float, retrieval: float) -> Path:
    """A run at one place, over some training hospitals."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {"loss": loss, "patients": 62.0, "pathology_to_report/r@5": retrieval, "pathology_to_report/chance@5": 0.1}
    data = record()["data"] | {"hospitals": [*hospitals, "summit"]}
    config = {"data": {"test_hospitals": ["summit"]}}
    write_json(
        folder / "run.json",
        record("python -m pretrain", data=data, config=config, metrics={"train/loss": 1.0, "held_out": held}),
    )
    return folder
