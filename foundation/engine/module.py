"""The Lightning module that every stage trains: a guarded step, and an optimiser with one learning-rate schedule."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DeepSpeedStrategy
from torch import Tensor

from foundation.batch import Batch
from foundation.distributed import several_processes
from foundation.encoder import MultimodalEncoder
from foundation.engine.callbacks import Finite
from foundation.engine.clipping import clip_gradients
from foundation.engine.learning_rate import warmup_cosine


class TrainingModule(pl.LightningModule):
    """An encoder with what learns from it; a stage says what a step is and which parameters learn how fast.

    Args:
        encoder: to train, or to learn from.
        warmup: share of all steps spent rising.
        total_steps: of the whole run, over all rounds.
        start_step: of this training within the whole run: one schedule spans all rounds.
        floor: of the learning rate at the end, as a share of its peak.
        finite: watches the losses; none if None.
    """

    def __init__(
        self,
        encoder: MultimodalEncoder,
        warmup: float,
        total_steps: int,
        start_step: int = 0,
        floor: float = 0.0,
        finite: Finite | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.warmup = warmup
        self.total_steps = total_steps
        self.start_step = start_step
        self.floor = floor
        self.finite = finite

    def step(self, batch: Batch, stage: str) -> Tensor | None:
        """Loss of a batch, logged under `stage`; None where it holds nothing to learn from."""
        raise NotImplementedError

    def accepted(self, loss: Tensor | None) -> Tensor | None:
        """What is learnt from a loss that is a number."""
        return loss

    def training_step(self, batch: Batch, index: int) -> Tensor | None:
        loss = self.step(batch, "train")
        if self.finite is None or self.finite.accepts(loss, batch, self.global_step):
            return self.accepted(loss)
        self.log("train/skipped", float(self.finite.skipped), batch_size=len(batch))
        if not self.must_step:
            return None
        # Others wait for this step's gradients: they are zero.
        return torch.stack([0 * parameter.sum() for parameter in self.parameters() if parameter.requires_grad]).sum()

    @property
    def must_step(self) -> bool:
        """Whether a step without a loss has to be taken: other processes wait for it, or DeepSpeed asks for one."""
        return several_processes() or isinstance(self.trainer.strategy, DeepSpeedStrategy)

    def validation_step(self, batch: Batch, index: int) -> None:
        self.step(batch, "validation")

    def on_train_start(self) -> None:
        if self.finite is not None and any(hasattr(parameter, "ds_id") for parameter in self.parameters()):
            self.finite.patience = 0  # ZeRO-3 has no weights here to make an empty step from

    def scheduled(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """An optimiser with the learning-rate schedule, as Lightning takes them."""
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def rate(self, step: int) -> float:
        """Linear warm-up, then cosine down to the floor, over the whole run; as a share of the peak."""
        return warmup_cosine((step + self.start_step) / max(1, self.total_steps), self.warmup, floor=self.floor)
