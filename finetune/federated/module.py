"""The module of a head that hospitals train together: it counts who trained what, and holds a site near the others."""

from collections import Counter
from typing import Any

import torch
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor

from finetune.criterion import HeadCriterion
from finetune.module import FinetuneModule
from foundation.batch import Batch
from foundation.distributed import sum_over_processes
from foundation.engine.drift_correction import DriftCorrection
from foundation.errors import UserError

HEAD = "head"


class FederatedModule(FinetuneModule):
    """Encoder and head, as at one place, with what rounds need beside.

    Args:
        more: as for `FinetuneModule`.
        start_step: steps of the whole run already taken: one learning-rate schedule spans all rounds.

    Attributes:
        drift_correction: what a strategy adds to the loss of a training step; nothing if None.
        samples: by parameter group, patients that trained it, counted once a step.
    """

    def __init__(self, *more: Any, start_step: int = 0, **others: Any) -> None:
        super().__init__(*more, **others)
        self.start_step = start_step
        self.drift_correction: DriftCorrection | None = None
        self.samples: Counter[str] = Counter()
        self._trained: dict[str, int] = {}

    def take_counts(self) -> None:
        """Lets the loss follow the head as it is now: class weights come with the weights of a round."""
        self.criterion = HeadCriterion(self.head)

    def step(self, batch: Batch, stage: str) -> Tensor | None:
        loss = super().step(batch, stage)
        self._trained = {} if loss is None else self._teaching(batch)
        return loss

    def accepted(self, loss: Tensor | None) -> Tensor | None:
        self.samples.update(self._trained)
        if self.drift_correction is None or loss is None:
            return loss
        groups = self._groups()
        counts = torch.tensor([float(self._trained.get(name, 0)) for name in groups], device=self.device)
        trained = [name for name, count in zip(groups, sum_over_processes(counts).tolist(), strict=True) if count]
        rate = self.rate(self.global_step) / self.trainer.accumulate_grad_batches
        terms = [
            self.drift_correction.term(part, peak * rate)
            for part, peak in (
                ([name for name in trained if name == HEAD], self.learning_rate),
                ([name for name in trained if name != HEAD], self.encoder_learning_rate),
            )
            if part
        ]
        return loss + sum(term for term in terms if term is not None)

    def on_train_start(self) -> None:
        if self.drift_correction is not None:
            if isinstance(self.trainer.strategy, FSDPStrategy):
                raise UserError("trainer.strategy: FSDP spreads weights, so FedProx and SCAFFOLD cannot steer; use ddp")
            self.drift_correction.begin(self)
        super().on_train_start()

    def on_train_end(self) -> None:
        groups = self._groups()
        counts = torch.tensor([self.samples[name] for name in groups], dtype=torch.float64, device=self.device)
        total = self.trainer.strategy.reduce(counts, reduce_op="sum")
        self.samples = Counter({name: int(value) for name, value in zip(groups, total.tolist(), strict=True) if value})

    def _groups(self) -> list[str]:
        return [HEAD] if self.frozen else [HEAD, "fusion", *self.encoder.modalities]

    def _teaching(self, batch: Batch) -> dict[str, int]:
        """By parameter group, the patients of a batch who teach it."""
        trained = {HEAD: len(batch)}
        if not self.frozen:
            trained["fusion"] = len(batch)
            trained |= {name: len(batch.rows(name)) for name in batch.present}
        return trained
