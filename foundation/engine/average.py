"""An exponential mean of the weights, validated and exported in their place."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy

from foundation.errors import UserError


class Average(EMAWeightAveraging):
    """Lightning's mean, which stays in place until every other callback has seen the validation's end.

    Args:
        decay: of what was before, a step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy):
            raise UserError(
                f"ema: {type(trainer.strategy).__name__} keeps weights in parts, of which no mean is kept; "
                "set ema=null, or train with trainer=cpu, gpu or ddp"
            )
        super().setup(trainer, pl_module, stage)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
        if trainer.should_stop or checkpoint["global_step"] >= trainer.max_steps:
            self._copy_average_to_current(pl_module)  # killed after its last step: `on_train_end` will not come

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves the mean in place: `KeepBest` writes what was validated."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
