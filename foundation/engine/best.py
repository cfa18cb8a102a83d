"""The best weights of a run on its validation patients, and the end of a run that gets no better."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from foundation.engine.deepspeed import whole_state
from foundation.tensors import write_tensors


class KeepBest(Callback):
    """Writes the weights of the best validation so far, and stops a run that gets no better.

    They are whole under every trainer. The first process's value decides for all.

    Args:
        path: of the safetensors file.
        metric: as it is logged, for example `validation/loss`.
        larger: whether more is better.
        patience: validations without a better one after which training ends; None trains to the last step.
        wanted: which weights to keep, by name; those that do not learn need not be.

    Attributes:
        value: of the best validation; None before the first.
        step: at which it was.
    """

    def __init__(
        self,
        path: Path,
        metric: str = "validation/loss",
        larger: bool = False,
        patience: int | None = None,
        wanted: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self.path = path
        self.metric = metric
        self.larger = larger
        self.patience = patience
        self.wanted = wanted
        self.value: float | None = None
        self.step = 0
        self._worse = 0  # validations in a row

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        logged = trainer.callback_metrics.get(self.metric)
        value = None if logged is None else float(logged)
        if trainer.world_size > 1:
            value = trainer.strategy.broadcast(value)
        if value is None or math.isnan(value):
            return
        if self.value is None or (value > self.value if self.larger else value < self.value):
            self.value, self.step, self._worse = value, trainer.global_step, 0
            state = whole_state(trainer, pl_module, self.wanted)
            if trainer.is_global_zero:
                write_tensors(self.path, state)
            return
        self._worse += 1
        if self._is_over(self._worse):
            trainer.should_stop = True

    def _is_over(self, worse: int) -> bool:
        return self.patience is not None and worse >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "step": self.step, "worse": self._worse}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.value, self.step, self._worse = state_dict["value"], state_dict["step"], state_dict["worse"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        kept = checkpoint["callbacks"].get(self.state_key)
        if kept is not None and self._is_over(kept["worse"]):
            trainer.should_stop = True  # it was killed after its last step
