"""A release's folder, its answers and what came of them, drawn."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from serve import manifest
from serve.feedback.declared import Declared
from serve.feedback.ledger import FeedbackLedger
from serve.feedback.store import Store
from serve.monitoring.usage import Usage
from serve.schema import BundleSchema

VERSION = "abcdef123456"
PROBABILITY = {"type": "number"}


def at_hospital(folder: Path, declared: Declared) -> tuple[Store, FeedbackLedger]:
    """Feedback of a hospital where a release was declared."""
    ledger = FeedbackLedger(folder)
    ledger.declare(declared)
    return Store(folder), ledger


def release(folder: Path, version: str = VERSION, classes: Sequence[str] = ("negative", "positive")) -> Path:
    """A folder as a registry keeps it: bundle with reference, and predictions of 200 patients at Brier about 0.17."""
    (folder / "bundle").mkdir(parents=True)
    chances = {"type": "object", "properties": dict.fromkeys(classes, PROBABILITY)}
    schema = BundleSchema(
        name="own",
        version=version,
        task="biomarker",
        prediction={"type": "object", "properties": {"class": {}, "probabilities": chances}},
        synthetic=True,
        modalities={},
    )
    (folder / "bundle/schema.json").write_text(schema.model_dump_json())
    usage = Usage(answered=200, abstained=10, scores={"report": [0, 0, 50, 146, 4, 0, 0, 0]})
    (folder / "bundle/reference.json").write_text(usage.model_dump_json())
    manifest.write(folder / "bundle")
    chance, label = drawn(200, 0)
    rows = {"patient": [f"t{n}" for n in range(200)], "split": "test", "subset": "all", "output": classes[-1]}
    table = pd.DataFrame({**rows, "label": label, "prediction": chance > 0.5, "probability": chance})
    table.astype({"prediction": float}).to_parquet(folder / "predictions.parquet")
    return folder


def drawn(count: int, seed: int, shift: float = 0.0) -> tuple[Any, Any]:
    """Chances, and outcomes that come as often as they say, or by `shift` oftener."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.05, 0.95, count)
    return chance, (rng.random(count) < np.clip(chance + shift, 0, 1)).astype(float)


def answers(path: Path, patients: Sequence[str], chance: Any, version: str = VERSION, score: float = 0.5) -> Path:
    """Lines as `serve.batch` writes them, one refused request among them."""
    lines = [{"patient_id": "refused", "status": 422, "problem": {"detail": "no"}}]
    for patient, value in zip(patients, chance, strict=True):
        reliability = {"out_of_distribution": {"report": score}, "abstain": False}
        prediction = {"class": "positive", "probabilities": {"negative": 1 - value, "positive": value}}
        content = {"version": version, "prediction": prediction, "modalities_used": ["report"]}
        lines.append({"patient_id": patient, "status": 200, "answer": {**content, "reliability": reliability}})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def outcomes(path: Path, patients: Sequence[str], label: Any) -> Path:
    """A table of outcomes."""
    pd.DataFrame({"patient_id": patients, "biomarker": [f"{value:g}" for value in label]}).to_csv(path, index=False)
    return path
