"""Whom a federation trained on stays known to the heads that build on it, and to their evaluations."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SEEN = r"pretrain trained on 16 of 16 test patients (hospital summit)"
HERE = Path(__file__).resolve().parents[2]


def consilium(command: str, *settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0"}
    arguments = [sys.executable, "-m", command, *settings]
    return subprocess.run(
        arguments, cwd=HERE, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.process
@pytest.mark.slow
def test_patients_of_a_hospital_that_took_part_are_not_held_out_later(small_cohort: Path, tmp_path: Path):
    runs = {name: tmp_path / name for name in ("pretrain", "head", "evaluation")}
    done = consilium(
        "pretrain.federated",
        *("federation=serial", "experiment=demo", "rounds=1", "steps_per_round=1", "data.batch_size=8"),
        *("sites=[riverside,summit]", "data.test_hospitals=[]"),
        *(f"data.folder={small_cohort}", f"output={runs['pretrain']}"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    done = consilium(
        "finetune",
        *(f"pretrained={runs['pretrain']}", f"data.folder={small_cohort}", f"output={runs['head']}"),
        *("data.test_hospitals=[summit]", "steps=2", "frozen=true", "progress=false"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert SEEN in done.stdout
    evaluation = [f"run={runs['head']}", f"output={runs['evaluation']}", "resamples=5"]
    done = consilium("finetune.evaluate", *evaluation)
    assert done.returncode == 2
    assert SEEN in done.stderr
    assert "so they are not held out" in done.stderr
    done = consilium("finetune.evaluate", *evaluation, "allow_seen=true")
    assert done.returncode == 0, done.stderr[-3000:]
    first = f"Seen in training, not held out: {tmp_path.name}/{SEEN}."
    assert next(line for line in done.stdout.splitlines() if not line.startswith("loading ")) == first
    assert (runs["evaluation"] / "evaluation.md").read_text().splitlines()[0] == f"> **{first}**"
