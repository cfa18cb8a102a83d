"""Step time of the whole training path beside a bare PyTorch loop over the same modules and batches.

`python scripts/bench/step.py` prepares the embedded cohort, then lets each kind train in turn, in a process of its own:
on one process the path of `python -m pretrain` and a bare loop; on two, the path under DDP and ZeRO-2 (float32) and a
bare loop under PyTorch's DDP.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import foundation  # isort: skip
import hydra
import torch
from commands import run
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from side_by_side import ratio
from torch import nn

import foundation.engine.run
import pretrain.fit
from foundation.data.dataset import Collate
from foundation.data.loader import PatientLoader
from foundation.data.sampler import PatientSampler
from pretrain.assemble import datasets, load_cohort
from pretrain.module import PretrainModule

WARM_UP = 5


class PhaseTimer(Callback):
    """Notes when each step begins."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.at.append(time.perf_counter())


class Losses(nn.Module):
    """A pretraining module's loss, without its logs."""

    def __init__(self, module: PretrainModule) -> None:
        super().__init__()
        self.module = module
        module.log = lambda *_, **__: None  # type: ignore[method-assign]

    def forward(self, batch: Any) -> Any:
        return self.module.step(batch, "train")


def configured(kind: str, cohort: str, output: str, steps: int, more: list[str]) -> DictConfig:
    """The config of `python -m pretrain` for a kind of run."""
    trainer = {"ddp": "ddp", "zero2": "deepspeed_zero2"}.get(kind)
    settings = [
        "experiment=demo",
        f"data.folder={cohort}",
        f"output={output}",
        f"steps={steps}",
        "progress=false",
        *more,
    ]
    if trainer:
        settings += [
            f"trainer={trainer}",
            "trainer.accelerator=cpu",
            "trainer.devices=2",
            "++trainer.precision=32-true",
        ]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        return hydra.compose("pretrain", settings)


def path(cfg: DictConfig, hospitals: list[str]) -> list[float]:
    """When each step of the whole path began."""
    timer, build = PhaseTimer(), foundation.engine.run.build_trainer

    def timed(*args: Any, **more: Any) -> Any:
        trainer = build(*args, **more)
        trainer.callbacks.append(timer)
        return trainer

    foundation.engine.run.build_trainer = timed
    pretrain.fit.fit_round(cfg, hospitals, None, Path(cfg.output), cfg.steps, 0, cfg.steps)
    return timer.at


def bare(cfg: DictConfig, hospitals: list[str], together: bool) -> list[float]:
    """When each step of a bare loop began."""
    rank, ranks = 0, 1
    if together:
        torch.distributed.init_process_group("gloo")
        rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    cohort, parts = load_cohort(cfg, hospitals)
    module = pretrain.fit.build_module(cfg, None, 0, cfg.steps)
    losses: nn.Module = Losses(module)
    train, _ = datasets(cfg, cohort, parts, list(module.encoder.modalities))
    sampler = PatientSampler(len(train), cfg.data.batch_size, 0, rank, ranks, drop_last=True)
    loader = PatientLoader(train, sampler, Collate(module.encoder, True, 0))
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    if together:
        losses = nn.parallel.DistributedDataParallel(losses, find_unused_parameters=True)
    module.train()
    at: list[float] = []
    while len(at) < cfg.steps:
        for batch in loader:
            at.append(time.perf_counter())
            loss = losses(batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            loss.item()  # the path logs it
            if len(at) == cfg.steps:
                break
    if together:
        torch.distributed.destroy_process_group()
    return at


def work(kind: str, cohort: str, output: str, steps: int, more: list[str]) -> None:
    """One kind in this process; prints its steps' seconds."""
    cfg = configured(kind, cohort, output, steps, more)
    hospitals = [path.parent.name for path in sorted(Path(cohort).glob("*/patients.parquet"))]
    train = [name for name in hospitals if name not in cfg.data.test_hospitals]
    at = bare(cfg, train, kind == "bare2") if kind.startswith("bare") else path(cfg, train)
    if int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0:
        print(json.dumps([after - before for before, after in itertools.pairwise(at)][WARM_UP:]))


def measured(kind: str, cohort: Path, folder: Path, steps: int, more: list[str]) -> float:
    """Median seconds of a step of a kind, in fresh processes."""
    work = [__file__, "--kind", kind, "--cohort", str(cohort), "--steps", str(steps), "--settings", *more]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [sys.executable, *(torchrun if kind in ("bare2", "ddp", "zero2") else []), *work]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "STEP_OUTPUT": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("[") and line.endswith("]")]
    if done.returncode != 0 or not lines:
        sys.exit(f"{kind}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return statistics.median(json.loads(lines[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--settings", nargs="*", default=[], help="further settings of `python -m pretrain`")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--cohort", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kind:
        work(arguments.kind, arguments.cohort, os.environ["STEP_OUTPUT"], arguments.steps, arguments.settings)
        return
    kinds = ("bare", "path", "bare2", "ddp", "zero2")
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        folder = Path(name)
        run("foundation.data prepare", "cohort=demo", f"cohort.root={folder}/raw", f"output={folder}/cohort")
        for _ in range(arguments.rounds):
            for kind in kinds:
                seconds[kind].append(
                    measured(kind, folder / "cohort", folder / kind, arguments.steps, arguments.settings)
                )
                print(f"{kind:8}{1000 * seconds[kind][-1]:9.1f} ms a step", flush=True)
    print(f"one process: {ratio(seconds['path'], seconds['bare'])} of a bare loop (bar: at most 1.05×)")
    print(f"two, DDP: {ratio(seconds['ddp'], seconds['bare2'])} of a bare loop under DDP (bar: at most 1.10×)")
    print(f"two, ZeRO-2: {ratio(seconds['zero2'], seconds['bare2'])} of a bare loop under DDP (bar: at most 1.10×)")


if __name__ == "__main__":
    main()
