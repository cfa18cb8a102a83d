"""Step time of the whole training path beside a bare PyTorch loop over the same modules and batches.

`python scripts/bench/step.py` prepares the embedded cohort, then lets each kind train in turn, in a process of its own:
on one process the paths of `python -m pretrain` and `python -m finetune`, each beside a bare loop; on two, the path of
`python -m pretrain` under DDP and ZeRO-2 (float32) beside bare loops under PyTorch's DDP and DeepSpeed's ZeRO-2, which
tells what of ZeRO-2's time is DeepSpeed's own.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foundation  # noqa: F401  # isort: skip  # before Lightning: lets torchvision load on a CPU-only torch
import hydra
import torch
from commands import run
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from side_by_side import ratio
from torch import nn
from trainers import changed_trainers

import pretrain.fit
from finetune.assemble import build_head
from finetune.fit import fit
from finetune.module import FinetuneModule
from finetune.patients import patients_with_target
from foundation.data.cohort import Cohort
from foundation.data.dataset import Collate
from foundation.data.loader import PatientLoader
from foundation.data.sampler import PatientSampler
from foundation.data.splits import configured_split
from foundation.engine.module import TrainingModule
from pretrain.assemble import build_encoder, datasets, load_cohort

WARM_UP = 5
KINDS = ("bare", "path", "bare_head", "head", "bare2", "ddp", "bare_zero2", "zero2")
TOGETHER = ("bare2", "ddp", "bare_zero2", "zero2")


class PhaseTimer(Callback):
    """Notes when each step begins."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.at.append(time.perf_counter())


class Losses(nn.Module):
    """A module's loss, without its logs."""

    def __init__(self, module: TrainingModule) -> None:
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


def head(cohort: str, output: str, steps: int) -> tuple[DictConfig, list[Any]]:
    """The config of `python -m finetune`, and an encoder of the demo's size, a head, train and validation patients."""
    settings = [f"data.folder={cohort}", f"output={output}", f"steps={steps}", "progress=false", "pretrained=x"]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("finetune", [*settings, "data.batch_size=32", "validate_every=20"])
    prepared = Cohort(Path(cohort))
    encoder = build_encoder(configured("path", cohort, output, steps, []), prepared.dictionary)
    made = build_head(cfg.task, encoder.width)
    split = configured_split(prepared, cfg.data)
    names = list(encoder.modalities)
    parts = [patients_with_target(prepared, part, made, names, {}) for part in (split.train, split.validation)]
    return cfg, [encoder, made, *parts]


def path(training: Callable[[], Any]) -> list[float]:
    """When each step of the whole path began."""
    timer = PhaseTimer()
    with changed_trainers(lambda trainer: trainer.callbacks.append(timer)):
        training()
    return timer.at


def bare_pretraining(cfg: DictConfig, hospitals: list[str], kind: str) -> list[float]:
    """When each step of a bare loop of pretraining began."""
    if kind != "bare":
        torch.distributed.init_process_group("gloo")
    cohort, parts = load_cohort(cfg, hospitals)
    module = pretrain.fit.build_module(cfg, None, 0, cfg.steps)
    train, _ = datasets(cfg, cohort, parts, list(module.encoder.modalities))
    return bare(module, train, cfg, 0.0, kind)


def bare_head(cfg: DictConfig, encoder: Any, made: Any, train: Any, *_: Any) -> list[float]:
    """When each step of a bare loop of fine-tuning began."""
    module = FinetuneModule(encoder, made, **cfg.optimizer, total_steps=cfg.steps)
    type(module).must_step = False  # type: ignore[assignment,method-assign]
    return bare(module, train, cfg, cfg.data.modality_dropout, "bare")


def bare(module: TrainingModule, train: Any, cfg: DictConfig, modality_dropout: float, kind: str) -> list[float]:
    """When each step of a bare loop began, on one process or as one of two."""
    rank, ranks = (0, 1) if kind == "bare" else (torch.distributed.get_rank(), torch.distributed.get_world_size())
    losses: Any = Losses(module)
    sampler = PatientSampler(len(train), cfg.data.batch_size, 0, rank, ranks, drop_last=True)
    loader = PatientLoader(train, sampler, Collate(module.encoder, True, 0, modality_dropout))
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    module.train()
    if kind == "bare2":
        losses = nn.parallel.DistributedDataParallel(losses, find_unused_parameters=True)
    if kind == "bare_zero2":
        losses = zero_engine(losses, optimizer, cfg.data.batch_size)
    at: list[float] = []
    while len(at) < cfg.steps:
        for batch in loader:
            at.append(time.perf_counter())
            loss = losses(batch)
            if kind == "bare_zero2":
                losses.backward(loss)
                losses.step()
            else:
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
            schedule.step()
            loss.item()  # the path logs it
            if len(at) == cfg.steps:
                break
    if kind != "bare":
        torch.distributed.destroy_process_group()
    return at


def zero_engine(losses: nn.Module, optimizer: torch.optim.Optimizer, batch_size: int) -> Any:
    """DeepSpeed's engine alone, with the settings that Lightning's strategy gives it."""
    import deepspeed

    stage = {"stage": 2, "contiguous_gradients": True, "overlap_comm": True}
    stage |= {"allgather_bucket_size": 200_000_000, "reduce_bucket_size": 200_000_000}
    config = {
        "train_micro_batch_size_per_gpu": batch_size,
        "gradient_clipping": 1.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": stage,
    }
    return deepspeed.initialize(model=losses, optimizer=optimizer, config=config)[0]


def work(kind: str, cohort: str, output: str, steps: int, more: list[str]) -> None:
    """One kind in this process; prints its steps' seconds."""
    if kind in ("head", "bare_head"):
        cfg, parts = head(cohort, output, steps)
        at = bare_head(cfg, *parts) if kind == "bare_head" else path(lambda: fit(cfg, *parts))
    else:
        cfg = configured(kind, cohort, output, steps, more)
        hospitals = [path.parent.name for path in sorted(Path(cohort).glob("*/patients.parquet"))]
        train = [name for name in hospitals if name not in cfg.data.test_hospitals]
        if kind.startswith("bare"):
            at = bare_pretraining(cfg, train, kind)
        else:
            at = path(lambda: pretrain.fit.fit_round(cfg, train, None, Path(output), steps, 0, steps))
    if int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0:
        print(json.dumps([after - before for before, after in itertools.pairwise(at)][WARM_UP:]))


def measured(kind: str, cohort: Path, folder: Path, steps: int, more: list[str]) -> float:
    """Median seconds of a step of a kind, in fresh processes."""
    work = [__file__, "--kind", kind, "--cohort", str(cohort), "--steps", str(steps), "--settings", *more]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [sys.executable, *(torchrun if kind in TOGETHER else []), *work]
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
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--cohort", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kind:
        work(arguments.kind, arguments.cohort, os.environ["STEP_OUTPUT"], arguments.steps, arguments.settings)
        return
    seconds: dict[str, list[float]] = {kind: [] for kind in arguments.kinds}
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        folder = Path(name)
        run("foundation.data prepare", "cohort=demo", f"cohort.root={folder}/raw", f"output={folder}/cohort")
        for _ in range(arguments.rounds):
            for kind in arguments.kinds:
                seconds[kind].append(
                    measured(kind, folder / "cohort", folder / kind, arguments.steps, arguments.settings)
                )
                print(f"{kind:11}{1000 * seconds[kind][-1]:9.1f} ms a step", flush=True)
    bars = [
        ("pretraining on one process", "path", "bare", "a bare loop (bar: at most 1.05×)"),
        ("a head on one process", "head", "bare_head", "a bare loop (bar: at most 1.05×)"),
        ("pretraining on two, DDP", "ddp", "bare2", "a bare loop under DDP (bar: at most 1.10×)"),
        ("pretraining on two, ZeRO-2", "zero2", "bare_zero2", "a bare loop under DeepSpeed"),
        ("bare ZeRO-2 on two", "bare_zero2", "bare2", "a bare loop under DDP: DeepSpeed's own share"),
        ("pretraining on two, ZeRO-2", "zero2", "bare2", "a bare loop under DDP (bar: at most 1.10×)"),
    ]
    for what, above, below, of in bars:
        if above in seconds and below in seconds:
            print(f"{what}: {ratio(seconds[above], seconds[below])} of {of}")


if __name__ == "__main__":
    main()
