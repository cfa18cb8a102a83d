"""ZeRO on two CPU processes, as `trainer=deepspeed_zero*` runs it on GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from foundation.data import synthetic
from foundation.data.pack import pack
from foundation.encoder import MultimodalEncoder
from foundation.run_record import RunRecord


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    synthetic.write(folder / "raw")
    found = pack(folder / "raw", folder / "demo")
    with RunRecord.open(folder / "demo", "python -m foundation.data prepare", {}, 0, (), {"name": found["name"]}):
        pass
    return folder / "demo"


@pytest.mark.process
@pytest.mark.parametrize("stage", [2, 3])
def test_two_cpu_processes_train_under_zero_and_write_one_portable_encoder(stage: int, cohort: Path, tmp_path: Path):
    arguments = ["experiment=demo", f"trainer=deepspeed_zero{stage}", "trainer.accelerator=cpu", "steps=6"]
    # So few patients and modalities a batch that the processes' batches lack different ones.
    arguments += [
        "objective=full",
        "data.batch_size=8",
        "data.modality_dropout=0.6",
        "progress=false",
        f"data.folder={cohort}",
        f"output={tmp_path / 'run'}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pretrain", *arguments],
        env={**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    # Two processes of 8 patients, six steps each: every patient of a step counts once.
    assert 24 < record["notes"]["samples"]["objective:alignment"] <= 96
    encoder = MultimodalEncoder.from_pretrained(tmp_path / "run" / "encoder")
    assert all(torch.isfinite(value).all() for value in encoder.state_dict().values())
    assert encoder.modalities["genomics"].seen > 0
