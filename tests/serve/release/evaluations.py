"""Evaluations of drawn patients, as releases are compared by them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundation.files import write_json
from serve.release.rules import Check

HOSPITALS = {"north": 120, "south": 80, "tiny": 6}


def figures(folder: Path, skill: dict[str, float], shift: float = 0.0, abstained: float = 0.1, part: float = 1) -> Path:
    """An evaluation of drawn patients, the same at every call: chances of a label, the better the larger `skill`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for hospital, count in HOSPITALS.items():
        rng = np.random.default_rng([*hospital.encode()])
        label = rng.permutation(np.resize([0, 1], count))
        noise = rng.normal(size=count)
        logit = skill.get(hospital, skill["all"]) * (2 * label - 1) + noise
        chance = np.clip(1 / (1 + np.exp(-logit)) + shift, 0, 1)
        for number in range(int(count * part)):
            row = {"patient": f"{hospital}{number}", "hospital": hospital, "split": "test", "subset": "all"}
            figures = {"label": float(label[number]), "prediction": float(chance[number] > 0.5)}
            figures |= {"probability": chance[number], "abstained": float(number < abstained * count)}
            rows.append({**row, "output": "positive", **figures})
    pd.DataFrame(rows).to_parquet(folder / "predictions.parquet")
    write_json(folder / "results.json", {"figures": []})
    return folder


def broken(checks: "tuple[Check, ...]") -> set[tuple[str, str]]:
    return {(check.rule.split(",")[0], check.level) for check in checks if check.verdict == "broken"}
