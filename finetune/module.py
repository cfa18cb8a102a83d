"""The Lightning module of fine-tuning: wiring only."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from finetune.heads.base import Head
from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.engine.learning_rate import warmup_cosine


class FinetuneModule(pl.LightningModule):
    """Encoder, frozen or not, with one head.

    Args:
        encoder: pretrained.
        head: to train.
        frozen: leave the encoder as it is.
        learning_rate: of the head, at its peak.
        encoder_learning_rate: of the encoder where it is not frozen.
        weight_decay: AdamW's.
        warmup: share of the steps spent rising.
        total_steps: of the run.

    Attributes:
        privacy: what training has spent, and on which assumptions (`finetune.private`); None without privacy.
    """

    def __init__(
        self,
        encoder: MultimodalEncoder,
        head: Head,
        frozen: bool = False,
        learning_rate: float = 1e-3,
        encoder_learning_rate: float = 1e-4,
        weight_decay: float = 0.05,
        warmup: float = 0.1,
        total_steps: int = 100,
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(not frozen)
        self.head = head
        self.frozen = frozen
        self.learning_rate = learning_rate
        self.encoder_learning_rate = encoder_learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.total_steps = total_steps
        self.privacy: dict[str, Any] | None = None

    def train(self, mode: bool = True) -> "FinetuneModule":
        """A frozen encoder stays in evaluation mode: no dropout, no moving statistics."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def step(self, batch: Batch, stage: str) -> Tensor | None:
        """Loss of a batch, logged; None where it holds nothing to learn from."""
        loss = self.head.loss(self.head(self.encoder(batch).fused), batch.targets)
        if loss is not None:
            self.log(f"{stage}/loss", loss.detach(), batch_size=len(batch), prog_bar=True, on_epoch=True)
        return loss

    def training_step(self, batch: Batch, index: int) -> Tensor | None:
        return self.step(batch, "train")

    def validation_step(self, batch: Batch, index: int) -> None:
        self.step(batch, "validation")

    def configure_optimizers(self) -> Any:
        groups = [{"params": list(self.head.parameters()), "lr": self.learning_rate}]
        if not self.frozen:
            groups.append({"params": list(self.encoder.parameters()), "lr": self.encoder_learning_rate})
        optimizer = torch.optim.AdamW(groups, weight_decay=self.weight_decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def rate(self, step: int) -> float:
        """Linear warm-up, then cosine to nothing."""
        return warmup_cosine(step / max(1, self.total_steps), self.warmup)
