"""ZeRO on two CPU processes, as `trainer=deepspeed_zero*` runs it on GPUs."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foundation.data import synthetic
from foundation.data.pack import pack
from foundation.encoder import MultimodalEncoder
from foundation.run_record import RunRecord
from tests import warm


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    synthetic.write(folder / "raw")
    found = pack(folder / "raw", folder / "demo")
    with RunRecord.open(folder / "demo", "python -m foundation.data prepare", {}, 0, (), {"name": found["name"]}):
        pass
    return folder / "demo"


def pretrain(output: Path, *arguments: str, processes: int = 1) -> None:
    settings = ["experiment=demo", "progress=false", f"output={output}", *arguments]
    done = warm.run("pretrain", settings, processes=processes)
    assert done.returncode == 0, done.stderr[-2000:]


# Without dropout and batch norm, whose numbers depend on who is in a process's part of the batch.
SAME = ["~modality.radiology", "~modality.report", "modality.pathology.backbone=test_vit", "modality.pathology.size=64"]
SAME += ["encoder.dropout=0.0", "data.modality_dropout=0.3", "steps=20", "validate_every=0", "monitor_every=0"]


@pytest.fixture(scope="module")
def one_process(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("one")
    pretrain(folder / "run", *SAME, f"data.folder={cohort}", "data.batch_size=16")
    return load_file(folder / "run" / "encoder" / "model.safetensors")


@pytest.mark.process
@pytest.mark.parametrize("trainer", ["ddp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3_offload"])
def test_two_processes_learn_what_one_does(trainer: str, cohort: Path, one_process: dict, tmp_path: Path):
    two = [f"trainer={trainer}", "trainer.accelerator=cpu", "++trainer.precision=32-true", "data.batch_size=8"]
    pretrain(tmp_path / "run", *SAME, *two, f"data.folder={cohort}", processes=2)
    found = load_file(tmp_path / "run" / "encoder" / "model.safetensors")
    assert found.keys() == one_process.keys()
    for name, value in one_process.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=0, msg=lambda said, name=name: f"{name}: {said}")


@pytest.mark.process
@pytest.mark.parametrize("stage", [2, 3])
def test_two_cpu_processes_train_under_zero_and_write_one_portable_encoder(stage: int, cohort: Path, tmp_path: Path):
    arguments = [f"trainer=deepspeed_zero{stage}", "trainer.accelerator=cpu", "steps=6", "validate_every=2"]
    arguments += ["modality.pathology.max_images=1", "modality.radiology.max_images=1"]
    # So few patients and modalities a batch that the processes' batches lack different ones.
    arguments += [
        "objective=full",
        "objective.masked_images.square=32",
        "data.batch_size=8",
        "data.modality_dropout=0.6",
        f"data.folder={cohort}",
    ]
    pretrain(tmp_path / "run", *arguments, processes=2)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    # Two processes of 8 patients, six steps each: every patient of a step counts once.
    assert 24 < record["notes"]["samples"]["objective:alignment"] <= 96
    encoder = MultimodalEncoder.from_pretrained(tmp_path / "run" / "encoder")
    assert all(torch.isfinite(value).all() for value in encoder.state_dict().values())
    assert encoder.modalities["genomics"].seen > 0
