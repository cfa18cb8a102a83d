"""The Lightning module of pretraining: wiring only."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import torch
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor, nn

from foundation.batch import Batch
from foundation.distributed import sum_over_processes
from foundation.encoder import MultimodalEncoder
from foundation.engine.callbacks import Finite
from foundation.engine.drift_correction import DriftCorrection
from foundation.engine.module import TrainingModule
from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.objectives.base import Objective, Term
from foundation.objectives.schedule import ramps

_OPTIMIZERS = ("adamw", "sgd")


class PretrainModule(TrainingModule):
    """Encoder, weighted objectives and optimiser.

    Args:
        encoder: to train.
        objectives: by name.
        weights: of the objectives' losses, numbers or ramps (`foundation.objectives.schedule`); 1 where not named.
        learning_rate: at its peak.
        weight_decay: of matrices; vectors and scalars have none.
        kind: of the optimiser, `adamw` or `sgd`.
        momentum: SGD's.
        warmup: share of all steps spent rising.
        total_steps: of the whole run, over all rounds.
        start_step: of this round within the whole run: one schedule spans all rounds.
        fused: the optimiser in one kernel.
        finite: watches the losses; none if None.
        drift_correction: what a federated strategy adds to the loss of a training step; nothing if None.
    """

    def __init__(
        self,
        encoder: MultimodalEncoder,
        objectives: dict[str, Objective],
        weights: Mapping[str, Any] | None = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        kind: str = "adamw",
        momentum: float = 0.0,
        warmup: float = 0.1,
        total_steps: int = 100,
        start_step: int = 0,
        fused: bool = False,
        finite: Finite | None = None,
        drift_correction: DriftCorrection | None = None,
    ) -> None:
        super().__init__(encoder, warmup, total_steps, start_step, floor=0.01, finite=finite)
        if kind not in _OPTIMIZERS:
            raise UserError(f"optimizer.kind: found {kind!r}; choose from {', '.join(_OPTIMIZERS)}")
        self.objectives = nn.ModuleDict(objectives)
        self.weights = ramps(weights or {}, objectives)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.kind = kind
        self.momentum = momentum
        self.fused = fused
        self.drift_correction = drift_correction
        self.samples: Counter[str] = Counter()
        self._trained: dict[str, int] = {}
        self.still: frozenset[str] = frozenset()  # parameter groups that do not learn

    def hold_still(self, grafted: Collection[str]) -> None:
        """Lets some modalities alone learn, with the objectives that look at them; nothing is done if there are none.

        What of the others would move without a gradient, statistics of batches, stands still as well.
        """
        if not grafted:
            return
        looks = {f"objective:{name}": objective.modalities for name, objective in self.objectives.items()}
        learns = {*grafted, *(name for name, seen in looks.items() if not seen or set(seen) & set(grafted))}  # type: ignore[arg-type]
        self.still = frozenset(self._groups()) - learns
        for name, parameter in self.named_parameters():
            if group_of(name) in self.still:
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> "PretrainModule":
        super().train(mode)
        for name in self.still & set(self.encoder.modalities):
            self.encoder.modalities[name].eval()
        if "fusion" in self.still:
            self.encoder.fusion.eval()
        return self

    def step(self, batch: Batch, stage: str) -> Tensor | None:
        """Loss of a batch, logged by objective."""
        output = self.encoder(batch)
        terms: dict[str, Term] = {}
        for name, objective in self.objectives.items():
            if (term := objective(self.encoder, output, batch)) is not None:
                terms[name] = term
        done = (self.global_step + self.start_step) / max(1, self.total_steps)
        total: Tensor | None = None
        trained: dict[str, int] = {}
        for name, term in terms.items():
            weight = self.weights[name].at(done)
            weighted = weight * term.share * term.loss
            total = weighted if total is None else total + weighted
            if not term.samples:
                continue
            self.log(f"{stage}/{name}", term.loss.detach(), batch_size=len(batch), prog_bar=stage == "train")
            if not weight:
                continue  # nobody taught anything
            for group, count in [*term.samples.items(), (f"objective:{name}", max(term.samples.values()))]:
                trained[group] = max(trained.get(group, 0), count)
        if output.zero_loss is not None:
            total = output.zero_loss.sum() if total is None else total + output.zero_loss.sum()
        if total is not None:
            self.log(f"{stage}/loss", total.detach(), batch_size=len(batch), on_epoch=True, on_step=stage == "train")
        self._trained = {name: count for name, count in trained.items() if name not in self.still}
        return None if self.still and total is not None and self.training and not total.requires_grad else total

    def accepted(self, loss: Tensor | None) -> Tensor | None:
        self.samples.update(self._trained)
        return self._corrected(loss)

    def _corrected(self, loss: Tensor | None) -> Tensor | None:
        """The loss with what the strategy adds to it, the same on every process."""
        if self.drift_correction is None or loss is None:
            return loss
        groups = self._groups()
        counts = torch.tensor([float(self._trained.get(name, 0)) for name in groups], device=self.device)
        trained = [name for name, count in zip(groups, sum_over_processes(counts).tolist(), strict=True) if count]
        batches = self.trainer.accumulate_grad_batches
        term = self.drift_correction.term(trained, self.learning_rate * self.rate(self.global_step) / batches)
        return loss if term is None else loss + term

    def _groups(self) -> list[str]:
        return [*self.encoder.modalities, "fusion", *(f"objective:{name}" for name in self.objectives)]

    def on_train_start(self) -> None:
        if self.drift_correction is not None:
            if isinstance(self.trainer.strategy, FSDPStrategy):
                raise UserError("trainer.strategy: FSDP spreads weights, so FedProx and SCAFFOLD cannot steer; use ddp")
            self.drift_correction.begin(self)
        super().on_train_start()

    def on_train_end(self) -> None:
        self.samples = self._samples_of_all()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["samples"] = dict(self._samples_of_all())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.samples = Counter(checkpoint["samples"] if self.global_rank == 0 else {})

    def _samples_of_all(self) -> Counter[str]:
        """Counts of all processes together, each of which may have seen other groups."""
        groups = self._groups()
        counts = torch.tensor([self.samples[name] for name in groups], dtype=torch.float64, device=self.device)
        total = self.trainer.strategy.reduce(counts, reduce_op="sum")
        return Counter({name: int(value) for name, value in zip(groups, total.tolist(), strict=True) if value})

    def configure_optimizers(self) -> Any:
        learning = [p for p in self.parameters() if p.requires_grad]
        decayed = [p for p in learning if p.ndim > 1]
        plain = [p for p in learning if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimizer: torch.optim.Optimizer
        if self.kind == "sgd":
            optimizer = torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum, fused=self.fused)
        else:
            optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, fused=self.fused)
        return self.scheduled(optimizer)
