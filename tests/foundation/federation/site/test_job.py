"""A site's round as a job of real processes: what it gives, and that nobody is left behind when it ends badly."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from omegaconf import DictConfig, OmegaConf

from foundation.errors import UserError
from foundation.federation.site.launch import launch
from foundation.federation.site.round import run_round
from foundation.federation.task import RoundArrays, RoundOptions
from foundation.federation.weights.module import set_weights, to_weights
from foundation.federation.weights.types import Weights
from pretrain.federated.task import Pretraining
from pretrain.fit import build_module

pytestmark = pytest.mark.process

STEPS = 3
CONFIGS = Path(__file__).resolve().parents[4] / "configs" / "trainer"
# Without dropout and batch norm, whose numbers depend on who is in a process's part of the batch.
SAME = ["~modality.radiology", "~modality.report", "modality.pathology.backbone=test_vit", "modality.pathology.size=64"]
SAME += ["encoder.dropout=0.0", "optimizer.weight_decay=0"]


def under(cfg: DictConfig, trainer: str, precision: str | None = None) -> DictConfig:
    """The config with another trainer, on two CPU processes that take half the batch each."""
    found = cfg.copy()
    found.trainer = OmegaConf.load(CONFIGS / f"{trainer}.yaml")
    found.trainer.accelerator = "cpu"
    if precision:
        OmegaConf.update(found, "trainer.precision", precision, force_add=True)
    found.data.batch_size = cfg.data.batch_size // 2
    return found


def seed_weights(cfg: DictConfig) -> Weights:
    return to_weights(build_module(cfg, None, 0, 1).state_dict())


def a_round(cfg: DictConfig, weights: Weights, tmp_path: Path, number: int = 1, **more):
    numbers = {"start_step": (number - 1) * STEPS, "steps": STEPS, "total_steps": 2 * STEPS}
    arrays = RoundArrays(weights, more.pop("control", {}))
    return run_round(Pretraining(cfg, "riverside"), RoundOptions(str(tmp_path / "scratch"), **numbers, **more), arrays)


@pytest.fixture(autouse=True)
def few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3"])
def test_two_processes_give_what_one_does(configure, tmp_path, trainer):
    cfg = configure(*SAME)
    weights = seed_weights(cfg)
    one = a_round(cfg, weights, tmp_path)
    two = a_round(under(cfg, trainer, "32-true"), weights, tmp_path, seconds=240)
    assert two.samples == one.samples
    assert two.weights.keys() == one.weights.keys()
    for name, value in one.weights.items():
        np.testing.assert_allclose(two.weights[name], value, atol=1e-4, err_msg=name)
    assert not (tmp_path / "scratch" / "job").exists()


@pytest.mark.slow
def test_zero_3_in_bf16_gives_weights_of_single_precision_that_fit_the_model(configure, tmp_path):
    cfg = configure()
    weights = seed_weights(cfg)
    found = a_round(under(cfg, "deepspeed_zero3"), weights, tmp_path, seconds=240)
    set_weights(build_module(cfg, None, 0, 1), found.weights)
    assert all(np.isfinite(value).all() for value in found.weights.values())
    name = "encoder.fusion.patient"
    moved = np.abs(found.weights[name] - weights[name])
    assert 0 < moved.max() < 0.02
    # bf16 keeps 8 bits of a number: what the optimiser adds to that must not be lost between rounds.
    rounded = (found.weights[name].view(np.uint32) & 0xFFFF) == 0
    assert not rounded.all()


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "deepspeed_zero2", "deepspeed_zero3"])
def test_a_kept_optimiser_goes_on_exactly_in_a_job_too(configure, tmp_path, trainer):
    cfg = under(configure(*SAME), trainer)
    weights = seed_weights(cfg)
    own = {"keep_optimizer": True, "seconds": 240}
    options = RoundOptions(str(tmp_path / "scratch"), 0, 2 * STEPS, 2 * STEPS, state=str(tmp_path / "whole"), **own)
    whole = run_round(Pretraining(cfg, "riverside"), options, RoundArrays(weights))
    for number in (1, 2):
        weights = a_round(cfg, weights, tmp_path, number, state=str(tmp_path / "state"), **own).weights
    different = [name for name, value in whole.weights.items() if not np.array_equal(value, weights[name])]
    assert different == []


@pytest.mark.slow
def test_both_drift_terms_hold_over_two_processes(configure, tmp_path):
    cfg = configure(*SAME, "optimizer.kind=sgd", "optimizer.fused=false")
    weights = seed_weights(cfg)
    learning = {name for name, _ in build_module(cfg, None, 0, 1).named_parameters()}
    control = {name: np.full(value.shape, 0.1, np.float32) for name, value in weights.items() if name in learning}
    drift = {"proximal": 1.0, "scaffold": True, "control": control}
    one = a_round(cfg, weights, tmp_path, state=str(tmp_path / "one"), **drift)
    zero2 = under(cfg, "deepspeed_zero2", "32-true")
    two = a_round(zero2, weights, tmp_path, state=str(tmp_path / "two"), seconds=240, **drift)
    for name, value in one.weights.items():
        np.testing.assert_allclose(two.weights[name], value, atol=1e-5, err_msg=name)
    assert two.control.keys() == one.control.keys()
    with pytest.raises(UserError, match=r"^round: trainer\.strategy: ZeRO-3 spreads weights over processes"):
        a_round(under(cfg, "deepspeed_zero3"), weights, tmp_path, state=str(tmp_path / "three"), seconds=240, **drift)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes a module of some lines that a job runs, with `rank` and `folder` in it."""
    package = tmp_path / "programs"
    package.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), *sys.path]))
    (tmp_path / "job").mkdir()
    before = "import os, signal, sys, time\nfrom pathlib import Path\n"
    before += "folder, rank = Path(sys.argv[1]), int(os.environ['RANK'])\n"
    before += "(folder / f'pid_{rank}').write_text(str(os.getpid()))\n"

    def make(lines: str) -> tuple[str, Path]:
        (package / "consilium_test_program.py").write_text(before + textwrap.dedent(lines))
        return "consilium_test_program", tmp_path / "job"

    return make


def pids(folder: Path, count: int = 2) -> list[int]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = [path.read_text() for path in folder.glob("pid_*")]
        if len(found) == count and all(found):
            return [int(text) for text in found]
        time.sleep(0.05)
    raise AssertionError(f"{len(found)} of {count} started")


def gone(numbers: list[int]) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in numbers):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "if rank == 1: (folder / 'rank_1.error').write_text('data/x: none'); sys.exit(2)\ntime.sleep(600)",
            r"^round: data/x: none$",
        ),
        ("if rank == 1: raise ValueError('too deep')\ntime.sleep(600)", r"^round: ValueError: too deep$"),
        (
            "if rank == 0: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(600)",
            r"^round: process 0 was killed by SIGKILL",
        ),
        (
            "raise RuntimeError('Connection closed by peer' if rank == 0 else 'out of memory')",
            r"^round: RuntimeError: out of memory$",
        ),
        ("sys.exit(3)", r"^round: a process ended without a word$"),
    ],
    ids=["bad input", "defect", "killed", "echo", "silent"],
)
def test_a_process_that_fails_ends_the_job_with_its_line(program, lines, said):
    module, folder = program(lines)
    with pytest.raises(UserError, match=said):
        launch(module, folder, 2, seconds=120)
    assert gone(pids(folder))


def test_a_job_that_hangs_is_killed_with_all_its_children_when_time_is_up(program):
    module, folder = program(
        """
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (folder / f"pid_child_{rank}").write_text(str(child.pid))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
        """
    )
    with pytest.raises(UserError, match=r"^round: not done after 4 s, so it was stopped"):
        launch(module, folder, 2, seconds=4)
    assert gone(pids(folder, 4))


def test_a_job_ends_with_the_process_that_launched_it(program, tmp_path):
    module, folder = program(
        "from foundation.federation.site.launch import end_with_parent\nend_with_parent()\ntime.sleep(600)"
    )
    code = "import sys; from pathlib import Path; from foundation.federation.site.launch import launch; "
    code += "launch(sys.argv[1], Path(sys.argv[2]), 2)"
    parent = subprocess.Popen([sys.executable, "-c", code, module, str(folder)])
    try:
        numbers = pids(folder)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert gone(numbers)


def test_a_job_that_ends_well_says_nothing(program):
    module, folder = program("(folder / f'done_{rank}').write_text(os.environ['WORLD_SIZE'])")
    launch(module, folder, 2, seconds=120)
    assert [(folder / f"done_{rank}").read_text() for rank in range(2)] == ["2", "2"]


@pytest.mark.slow
def test_bad_input_in_a_job_is_one_line_and_keeps_nothing(configure, tmp_path):
    cfg = under(configure(), "ddp")
    weights = seed_weights(cfg)
    del weights["encoder.fusion.patient"]
    with pytest.raises(UserError, match=r"^round: weights: those of the round lack encoder\.fusion\.patient"):
        a_round(cfg, weights, tmp_path, state=str(tmp_path / "state"), seconds=240)
    assert not list((tmp_path / "state").glob("step_*"))
    assert not (tmp_path / "scratch" / "job").exists()
