"""The Lightning module of fine-tuning: wiring only."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from finetune.criterion import HeadCriterion
from finetune.heads.base import Head
from finetune.reliability.module import Reliability
from finetune.subset_calibration import SubsetCalibration
from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.engine.module import TrainingModule

if TYPE_CHECKING:
    from finetune.learning.base import Learning
    from finetune.learning.hospital_sums import HospitalSums


class FinetuneModule(TrainingModule):
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
        fused: the optimiser in one kernel.

    Attributes:
        privacy: what training has spent, and on which assumptions (`finetune.private`); None without privacy.
        reliability: fitted after training; None where nothing says how far answers can be relied on.
        learning: how a run goes on from a release; None where it begins anew.
        sums: by hospital, that its experts were fitted from; None where they were not.
        subsets: calibration by subset of modalities, fitted after training; None where the head's own is all.
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
        fused: bool = False,
    ) -> None:
        super().__init__(encoder.requires_grad_(not frozen), warmup, total_steps)
        self.head = head
        self.frozen = frozen
        self.learning: Learning | None = None
        self.learning_rate = learning_rate
        self.encoder_learning_rate = encoder_learning_rate
        self.weight_decay = weight_decay
        self.fused = fused
        self.privacy: dict[str, Any] | None = None
        self.reliability: Reliability | None = None
        self.subsets: SubsetCalibration | None = None
        self.sums: HospitalSums | None = None
        self.criterion = HeadCriterion(head)

    def train(self, mode: bool = True) -> "FinetuneModule":
        """An encoder that is frozen, or added to alone, stays in evaluation mode: no dropout, no moving statistics."""
        super().train(mode)
        if self.frozen or (self.learning is not None and self.learning.still):
            self.encoder.eval()
        return self

    def step(self, batch: Batch, stage: str) -> Tensor | None:
        """Loss of a batch, logged; None where it holds nothing to learn from."""
        output = None if batch.fused is not None else self.encoder(batch)
        fused, targets = batch.fused if output is None else output.fused, batch.targets
        assert fused is not None
        if self.learning is not None:
            fused, targets = self.learning.extend(fused, targets, self.global_step)
        scores = self.head(fused)
        loss = self.criterion.loss(scores, targets)
        if loss is not None and self.learning is not None:
            loss = loss + self.learning.penalty(self, batch, scores)
        if loss is not None:
            self.log(f"{stage}/loss", loss.detach(), batch_size=len(batch), prog_bar=True, on_epoch=True)
        if self.must_step:  # every process goes through all weights, whatever its patients have
            nothing = 0 * scores.sum()
            if output is not None and output.zero_loss is not None:
                nothing = nothing + output.zero_loss.sum()
            loss = nothing if loss is None else loss + nothing
        return loss

    def embed(self, batch: Batch) -> Tensor:
        """Patient embeddings `[batch, width]`: those that the batch brings, else computed."""
        fused: Tensor = self.encoder(batch).fused if batch.fused is None else batch.fused
        return fused

    def validation_step(self, batch: Batch, index: int) -> None:
        self.criterion.add(batch, self.head(self.embed(batch)))

    def on_validation_epoch_end(self) -> None:
        """Logs loss and metrics of all validation patients together, the same on every process."""
        for name, value in self.criterion.measure().items():
            self.log(f"validation/{name}", value, prog_bar=name == "loss")

    def configure_optimizers(self) -> Any:
        groups = [{"params": list(self.head.parameters()), "lr": self.learning_rate}]
        if not self.frozen:
            groups.append({"params": list(self.encoder.parameters()), "lr": self.encoder_learning_rate})
        return self.scheduled(torch.optim.AdamW(groups, weight_decay=self.weight_decay, fused=self.fused))
