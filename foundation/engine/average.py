"""An exponential mean of the weights, validated and exported in their place."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from foundation.engine.deepspeed import set_master, set_part
from foundation.errors import UserError


class Average(Callback):
    """Keeps the mean, in single precision, of what each process has of the weights: all of them, or ZeRO-3's part.

    Lightning's own callback copies the whole module, of which ZeRO-3 leaves nothing to copy, and has no room in
    DeepSpeed's checkpoints. The mean begins with the weights after the first step. It is in place from the beginning of
    a validation until every earlier callback has seen its end, and from the end of training on. Running statistics are
    averaged like weights.

    Args:
        decay: of what was before, a step.
    """

    def __init__(self, decay: float) -> None:
        self._average = get_ema_multi_avg_fn(decay)
        self._mean: dict[str, Tensor] = {}
        self._training: dict[str, Tensor] = {}  # the weights in training, while the mean is in their place
        self._step = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if isinstance(trainer.strategy, FSDPStrategy):
            raise UserError(
                "ema: FSDP keeps weights in parts, of which no mean is kept; set ema=null, or take another trainer"
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return  # gradients were gathered, no step was taken
        self._step = trainer.global_step
        parts = {name: part.float() for name, part in _parts(pl_module)}
        if not self._mean:
            self._mean = {name: part.clone() for name, part in parts.items()}
        else:
            self._average([*self._mean.values()], [*parts.values()], None)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._mean:
            self._training = {name: part.clone() for name, part in _parts(pl_module)}
            _put(pl_module, self._mean)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._training:
            _put(pl_module, self._training)
            self._training = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _put(pl_module, self._mean)
        if isinstance(trainer.strategy, DeepSpeedStrategy):
            for name, parameter in pl_module.named_parameters():
                if name in self._mean and parameter.dtype != torch.float32:
                    set_master(parameter, self._mean[name])

    def state_dict(self) -> dict[str, Any]:
        return {"mean": {name: part.cpu() for name, part in self._mean.items()}, "step": self._step}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        kept = checkpoint["callbacks"][self.state_key]
        devices = {name: part.device for name, part in _parts(pl_module)}
        self._mean = {name: part.to(devices[name]) for name, part in kept["mean"].items()}
        self._step = kept["step"]
        if trainer.should_stop or checkpoint["global_step"] >= trainer.max_steps:
            self.on_train_end(trainer, pl_module)  # killed after its last step: Lightning will not train


def _parts(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What this process has of each weight that learns, and of each running statistic."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            yield name, getattr(parameter, "ds_tensor", parameter).data
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            yield name, buffer


def _put(module: nn.Module, parts: Mapping[str, Tensor]) -> None:
    for name, parameter in module.named_parameters():
        if name in parts:
            set_part(parameter, parts[name])
    for name, buffer in module.named_buffers():
        if name in parts:
            buffer.copy_(parts[name])
