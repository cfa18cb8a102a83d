"""The folder of an evaluation of survival on the small synthetic cohort, without a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from finetune.trial.patients import ScoredPatients, read_scored
from foundation.data.cohort import Cohort
from foundation.files import write_json
from foundation.run_record import RunRecord

Evaluated = Callable[..., Path]


def head_run(folder: Path, cohort: Cohort, task: dict[str, Any]) -> Path:
    """The folder of a fine-tuned head as far as it says what its model reads."""
    with RunRecord.open(folder, "python -m finetune", {}, 0, [cohort.folder], cohort.facts()):
        write_json(folder / "task.json", {"modalities": ["record"], "drop_inputs": {}, **task})
    return folder


@pytest.fixture
def evaluated(cohort: Cohort, tmp_path: Path) -> Evaluated:
    """Writes the folder: every patient in `test` with a log hazard that foretells their time, more or less."""

    def made(kind: str = "survival", noise: float = 0.3, seen: str = "", task: dict[str, Any] | None = None) -> Path:
        rng = np.random.default_rng(0)
        folder = tmp_path / f"evaluation-{kind}"
        patients = cohort.patients
        risk = -np.log(patients["os_days"].fillna(500).to_numpy(float)) + rng.normal(0, noise, len(patients))
        parent = cohort.folder if task is None else head_run(tmp_path / "head", cohort, task)
        with RunRecord.open(folder, "python -m finetune.evaluate", {}, 0, [parent], cohort.facts()) as record:
            if seen:
                record.note("seen", seen)
        rows = pd.DataFrame({"patient": patients.index, "hospital": patients["hospital"].to_numpy()})
        parts = [
            rows.assign(split="test", subset="all", output=f"event by {days} days", label=0.0, prediction=risk,
                        probability=1 / (1 + np.exp(-risk - days / 100)))
            for days in (365, 1095)
        ]  # fmt: skip
        pd.concat(parts).to_parquet(folder / "predictions.parquet", index=False)
        write_json(folder / "results.json", {"kind": kind})
        return folder

    return made


@pytest.fixture
def scored(evaluated: Evaluated) -> ScoredPatients:
    return read_scored(evaluated(), ["test"])
