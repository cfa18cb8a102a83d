"""Checkpoints of a run, whole or not there at all: a kill at any moment leaves one to go on from.

`checkpoints/step=N.ckpt` is Lightning's checkpoint, a file, or under DeepSpeed a folder with a part a process;
`checkpoints/last.ckpt` links to the latest whole one. Each is written under another name first, then renamed.
"""

import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.strategies import DeepSpeedStrategy

from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.run_output import IDENTITY

_LAYOUT = "layout.json"


def find_checkpoint(output: Path) -> Path:
    """The latest whole checkpoint in a run's output folder: a file, or a folder where DeepSpeed trained.

    Raises:
        UserError: if there is none.
    """
    last = output / "checkpoints" / "last.ckpt"
    if not last.exists():
        raise UserError(f"{last}: nothing to resume from; drop resume=true to start anew")
    return last.resolve()


class Checkpoints(Checkpoint):
    """Writes a checkpoint every so many steps, after the validation that falls on the same step, and keeps the latest.

    Args:
        folder: of the checkpoints; emptied first where the run does not resume.
        every: steps; 0 leaves it to `save`.
        keep: how many of the latest stay.
        resume: the checkpoint that the run goes on from; None begins anew.
    """

    def __init__(self, folder: Path, every: int, keep: int = 1, resume: Path | None = None) -> None:
        self.folder = folder
        self.every = every
        self.keep = keep
        self.resume = resume
        self._step = 0  # of the latest one

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.resume is not None:
            check_layout(self.resume, layout_of(trainer))
        if not trainer.is_global_zero:
            return
        if self.resume is None:
            for path in self.folder.glob("[!.]*"):
                if path.name != IDENTITY:  # whose the checkpoints are was written before
                    _remove(path)
        for path in self.folder.glob(".*.writing"):  # left by a kill
            _remove(path)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not validates_now(trainer):
            self._save_if_due(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._save_if_due(trainer)

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        if self.every and trainer.global_step % self.every == 0:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Writes a checkpoint of the present step, unless there is one; every process calls it."""
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        path = self.folder / f"step={step}.ckpt"
        unfinished = self.folder / f".{path.name}.writing"
        trainer.save_checkpoint(unfinished)  # returns when all processes have written
        if not trainer.is_global_zero:
            return
        if unfinished.is_dir():
            write_json(unfinished / _LAYOUT, {"layout": layout_of(trainer)})
            _remove(path)
        unfinished.replace(path)
        link, last = self.folder / ".last.ckpt", self.folder / "last.ckpt"
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
        link.replace(last)
        self._prune(step)

    def _prune(self, step: int) -> None:
        """Leaves the latest ones; those of later steps are of before the run was resumed."""
        by_step = {int(path.stem.removeprefix("step=")): path for path in self.folder.glob("step=*.ckpt")}
        latest = sorted(number for number in by_step if number <= step)[-max(1, self.keep) :]
        for number, path in by_step.items():
            if number not in latest:
                _remove(path)


def validates_now(trainer: pl.Trainer) -> bool:
    """Whether validation follows this training batch, of whose end callbacks are told."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))


def layout_of(trainer: pl.Trainer) -> str:
    """What a checkpoint of this trainer consists of, in words."""
    strategy = trainer.strategy
    if isinstance(strategy, DeepSpeedStrategy):
        assert isinstance(strategy.config, dict)
        stage = strategy.config["zero_optimization"]["stage"]
        return f"DeepSpeed ZeRO-{stage} on {trainer.world_size} processes"
    return "whole weights"


def check_layout(checkpoint: Path, layout: str) -> None:
    """Refuses a checkpoint whose parts do not fit a trainer; whole weights fit any number of processes.

    Raises:
        UserError: in one line that names both.
    """
    written = "whole weights"
    if checkpoint.is_dir():
        written = read_json(checkpoint / _LAYOUT, "resume from another checkpoint", "layout")["layout"]
    if written != layout:
        raise UserError(
            f"{checkpoint}: written by a trainer that keeps {written}, this one keeps {layout}; parts of DeepSpeed's "
            "optimiser fit the stage and the number of processes that wrote them alone: set trainer and "
            "trainer.devices as they were, or begin anew from the weights"
        )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
