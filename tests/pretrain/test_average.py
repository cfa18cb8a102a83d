"""The mean of the weights: what is validated, exported and resumed, on one process and in the parts of several."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pretrain.fit import fit_round
from pretrain.module import PretrainModule
from tests import warm

HOSPITALS = ["riverside"]
BUFFER = "encoder.modalities.genomics.expression_mean"
WEIGHT = "encoder.fusion.patient"


@pytest.fixture
def steps(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """The weights after each step, in training."""
    taken: list[dict[str, torch.Tensor]] = []

    def keep(module: PretrainModule, *_: object) -> None:
        state = module.state_dict()
        taken.append({name: state[name].detach().clone() for name in (WEIGHT, BUFFER)})

    monkeypatch.setattr(PretrainModule, "on_train_batch_end", keep)
    return taken


def means(steps: list[dict[str, torch.Tensor]], name: str, decay: float) -> list[torch.Tensor]:
    """The mean after each step."""
    found = [steps[0][name]]
    for step in steps[1:]:
        found.append(decay * found[-1] + (1 - decay) * step[name])
    return found


def test_the_mean_is_what_is_validated_and_exported_and_training_goes_on_without_it(configure, tmp_path, steps):
    common = ["validate_every=2", "monitor_every=2", "data.validation_fraction=0.4"]
    plain = fit_round(configure(*common), HOSPITALS, None, tmp_path / "plain", 4, 0, 4)
    alone, steps[:] = [*steps], []
    result = fit_round(configure(*common, "ema=0.5"), HOSPITALS, None, tmp_path / "mean", 4, 0, 4)

    for step, same in zip(steps, alone, strict=True):
        assert all(torch.equal(step[name], same[name]) for name in step)
    for name in (WEIGHT, BUFFER):
        np.testing.assert_allclose(result.weights[name], means(steps, name, 0.5)[-1].numpy(), atol=1e-6)
        assert not np.array_equal(result.weights[name], plain.weights[name])
    best = load_file(tmp_path / "mean" / "checkpoints" / "best.safetensors")
    distances = [float((best[WEIGHT] - mean).abs().max()) for mean in means(steps, WEIGHT, 0.5)]
    assert min(distances[1], distances[3]) < 1e-6, "of the validation after the second step, or the fourth"


@pytest.mark.parametrize("step", [2, 3, 6])
def test_an_averaged_run_resumes_exactly(configure, tmp_path, step):
    cfg = configure("ema=0.9", "checkpoint_every=1", "validate_every=2", "monitor_every=0", "keep_checkpoints=9")
    whole = fit_round(cfg, HOSPITALS, None, tmp_path / "a", 6, 0, 6)
    kept = tmp_path / "a" / "checkpoints" / f"step={step}.ckpt"
    again = fit_round(cfg, HOSPITALS, None, tmp_path / "b", 6, 0, 6, resume=kept)
    assert all(np.array_equal(whole.weights[name], again.weights[name]) for name in whole.weights)


# Without dropout and batch norm, whose numbers depend on who is in a process's part of the batch.
SAME = ["experiment=demo", "progress=false", "~modality.radiology", "~modality.report", "data.batch_size=8", "ema=0.7"]
SAME += ["modality.pathology.backbone=test_vit", "modality.pathology.size=64", "encoder.dropout=0.0", "steps=10"]
SAME += ["validate_every=3", "monitor_every=0", "checkpoint_every=3", "++trainer.precision=32-true"]


def pretrain(cohort: Path, output: Path, trainer: str, *more: str, module: str = "pretrain", code: int = 0) -> None:
    settings = [*SAME, f"data.folder={cohort}", f"output={output}", f"trainer={trainer}", "trainer.accelerator=cpu"]
    done = warm.run(module, [*settings, *more], processes=2)
    assert done.returncode == code, done.stderr[-2000:]


def written(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "encoder" / "model.safetensors")


@pytest.fixture(scope="module")
def replicated(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("ddp")
    pretrain(small_cohort, folder / "run", "ddp")
    return written(folder / "run")


@pytest.mark.process
@pytest.mark.parametrize("stage", [*(pytest.param(stage, marks=pytest.mark.slow) for stage in (1, 2)), 3])
def test_parts_have_the_mean_of_the_whole(stage: int, small_cohort: Path, replicated: dict, tmp_path: Path):
    pretrain(small_cohort, tmp_path / "run", f"deepspeed_zero{stage}")
    assert_close(written(tmp_path / "run"), replicated, 1e-5)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_mean_of_parts_is_stopped_and_goes_on(stage: int, small_cohort: Path, tmp_path: Path):
    trainer, stopped = f"deepspeed_zero{stage}", tmp_path / "stopped"
    pretrain(small_cohort, tmp_path / "whole", trainer)
    pretrain(small_cohort, stopped, trainer, module="tests.pretrain.stopped_at_step", code=2)
    pretrain(small_cohort, stopped, trainer, "resume=true")
    assert_close(written(stopped), written(tmp_path / "whole"), 1e-6)


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], bound: float) -> None:
    assert one.keys() == other.keys()
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, atol=bound, rtol=0, msg=lambda said, name=name: f"{name}: {said}")
