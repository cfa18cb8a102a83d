"""Lightning's trainer from config, the same for pretraining and fine-tuning."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, RichProgressBar

from foundation.command import instantiate
from foundation.data.sampler import generator_of
from foundation.engine.callbacks import StopOnSignal
from foundation.engine.checkpoints import Checkpoints
from foundation.engine.loggers import build_loggers

_PRECISION = "float32_matmul_precision"  # of all that this process computes, no argument of Lightning's trainer
_ADVICE = (
    "does not have many workers",
    "isinstance\\(treespec, LeafSpec\\)",
    "exists and is not empty",
    "in eval mode at the",
    "`srun` command is available",  # on a machine of a cluster, outside its jobs
    "sync_dist=True",  # logged losses are the main process's own: one whose batch lacks a pair would block the others
)


def build_trainer(
    cfg: DictConfig,
    output: Path,
    steps: int,
    validate_every: int,
    save_every: int,
    progress: bool,
    callbacks: Sequence[Callback] = (),
    keep: int = 1,
    loggers: Sequence[str] = ("tensorboard", "csv"),
    resume: Path | None = None,
) -> pl.Trainer:
    """A trainer with logs, checkpoints and a progress bar, that ends in order when a cluster stops it.

    Args:
        cfg: of the group `trainer`: Lightning's arguments, and `float32_matmul_precision`, which counts on GPUs alone.
        output: for logs and checkpoints.
        steps: to stop after.
        validate_every: steps between validations; 0 for none.
        save_every: steps between checkpoints for `resume`; 0 writes none.
        progress: whether to draw the bar.
        callbacks: beside those for checkpoints and progress.
        keep: how many of the latest checkpoints stay.
        loggers: see `foundation.engine.loggers`.
        resume: the checkpoint that the run will go on from; without, earlier checkpoints in its folder are removed.
    """
    checkpoints = Checkpoints(output / "checkpoints", save_every, keep, resume) if save_every else None
    kept: list[Callback] = [*callbacks, StopOnSignal(checkpoints)]
    if checkpoints is not None:
        kept.append(checkpoints)
    if cfg.get(_PRECISION) is not None and torch.cuda.is_available():
        torch.set_float32_matmul_precision(cfg[_PRECISION])
    with quiet():
        trainer: pl.Trainer = instantiate(
            OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != _PRECISION]),
            max_steps=steps,
            max_epochs=-1,
            default_root_dir=str(output),
            logger=build_loggers(loggers, output),
            callbacks=[*kept, RichProgressBar()] if progress else kept,
            enable_progress_bar=progress,
            enable_checkpointing=checkpoints is not None,
            enable_model_summary=False,
            limit_val_batches=1.0 if validate_every else 0,
            val_check_interval=validate_every or 1.0,
            check_val_every_n_epoch=None if validate_every else 1,
            log_every_n_steps=cfg.get("log_every_n_steps", 1),
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the data module deals patients out to processes
            _convert_="all",
        )
    return trainer


class SeedSteps(Callback):
    """Gives each step random numbers of its own (dropout), so that a run resumed at any step draws what it would have.

    Args:
        seed: of the run.
        before: steps that the run took before this training, which goes on from there.
    """

    def __init__(self, seed: int, before: int = 0) -> None:
        self.seed = seed
        self.before = before

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        step = self.before + trainer.fit_loop.total_batch_idx
        torch.manual_seed(generator_of(self.seed, "step", step, trainer.global_rank).initial_seed())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed inside, the caller's own afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Lightning's advice that small in-memory cohorts make moot; its warnings of anything else stay."""
    talkers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric")]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for advice in _ADVICE:
                warnings.filterwarnings("ignore", message=f".*{advice}.*")
            yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
