"""Callbacks that end a run in order: on a signal, when time is up, or when its loss is no number any more."""

import signal
import threading
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Timer
from torch import Tensor

from foundation.batch import Batch
from foundation.distributed import any_process
from foundation.engine.checkpoints import Checkpoints, validates_now
from foundation.errors import Stopped, UserError
from foundation.files import SECRET
from foundation.tensors import write_tensors


class StopOnSignal(Callback):
    """On SIGTERM, as a cluster sends it, finishes the step, saves it and ends the run; a second one kills.

    Lightning's own handling writes no checkpoint, and exchanges between processes inside the signal's handler, where
    another exchange may be under way.

    Args:
        checkpoints: writes it; None writes none.
    """

    def __init__(self, checkpoints: Checkpoints | None) -> None:
        self.checkpoints = checkpoints
        self._stops = False
        self._before: Any = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not before: between the two, Lightning sets a handler of its own, which would call this one after it.
        if threading.current_thread() is threading.main_thread():  # no other may listen to signals
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._stops = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not validates_now(trainer):
            self._stop_if_signalled(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._stop_if_signalled(trainer, pl_module)

    def _stop_if_signalled(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # The signal may reach one process a step before the others.
        if not any_process(self._stops, pl_module.device):
            return
        if self.checkpoints is None:
            raise Stopped(f"stopped by SIGTERM after step {trainer.global_step}")
        self.checkpoints.save(trainer)
        last = self.checkpoints.folder / "last.ckpt"
        raise Stopped(f"{last}: stopped by SIGTERM after step {trainer.global_step}; go on with resume=true")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)
            self._before = None


class StopAfter(Timer):
    """Ends training after a step once its time is up, as an error unless that was the last step.

    Args:
        seconds: of training.
        what: ran out of time, for the error.
    """

    def __init__(self, seconds: float, what: str) -> None:
        super().__init__(timedelta(seconds=seconds), interval="step", verbose=False)
        self.seconds = seconds
        self.what = what

    def on_fit_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Does not look at the time yet: Lightning would skip training without a word."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer)
        if trainer.should_stop and trainer.global_step < trainer.max_steps:
            raise UserError(
                f"{self.what}: {trainer.global_step} of {trainer.max_steps} steps in {self.seconds:g} s; "
                "allow more time or fewer steps"
            )


class Finite:
    """Counts losses that are no number; a few in a row end the run, with the batch that did it kept.

    Args:
        folder: of the run.
        patience: how many in a row are skipped; the next one ends the run.

    Attributes:
        skipped: in all.
    """

    def __init__(self, folder: Path, patience: int = 3) -> None:
        self.folder = folder
        self.patience = patience
        self.skipped = 0
        self._in_a_row = 0

    def accepts(self, loss: Tensor | None, batch: Batch, step: int) -> bool:
        """Whether every process may learn from its loss.

        Raises:
            UserError: when it repeats.
        """
        device = loss.device if loss is not None else torch.device("cpu")
        if not any_process(loss is not None and not bool(torch.isfinite(loss)), device):
            self._in_a_row = 0
            return True
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row > self.patience:
            path = self._keep(batch)
            raise UserError(
                f"{path}: the loss was not finite {self._in_a_row} times in a row, until step {step}; this file holds "
                "the last batch. Lower optimizer.learning_rate, raise precision, or look for values out of range"
            )
        return False

    def _keep(self, batch: Batch) -> Path:
        """Writes the batch's tensors, readable by the owner alone: they are patients'."""
        tensors = {
            f"{modality}.{name}": value
            for modality, named in {"present": batch.present, **batch.inputs}.items()
            for name, value in named.items()
        }
        path = self.folder / "non_finite_batch.safetensors"
        write_tensors(path, tensors, SECRET)
        return path
