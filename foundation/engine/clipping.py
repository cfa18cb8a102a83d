"""Clipping of gradients, whatever the precision, the optimiser and the strategy."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DeepSpeedStrategy
from torch.distributed.fsdp import FullyShardedDataParallel


def clip_gradients(
    module: pl.LightningModule, optimizer: torch.optim.Optimizer, largest: float | None, algorithm: str | None
) -> None:
    """Scales gradients down to a norm, for `LightningModule.configure_gradient_clipping`.

    Lightning refuses a fused optimiser under mixed precision, for its loss may be scaled: in bf16 it never is. Under
    FSDP it refuses norms altogether, for they need the sharded module, which is at hand here. The rest is Lightning's.

    Args:
        module: that is trained.
        optimizer: whose gradients.
        largest: their norm at most; None or 0 leaves them alone.
        algorithm: Lightning's word, `norm` or `value`; norm if None.
    """
    trainer = module.trainer
    scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    if not largest or scaled or algorithm not in (None, "norm") or isinstance(trainer.strategy, DeepSpeedStrategy):
        module.clip_gradients(optimizer, largest, algorithm)
    elif isinstance(trainer.strategy.model, FullyShardedDataParallel):
        trainer.strategy.model.clip_grad_norm_(largest)
    else:
        gradients = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(gradients, largest)
