"""The base of pretraining objectives, which keeps them in lockstep over processes that train together."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foundation.batch import Batch
from foundation.distributed import broadcast, gather_rows, processes, sum_over_processes
from foundation.encoder import MultimodalEncoder
from foundation.gradient_cache import without_statistics
from foundation.output import EncoderOutput


@dataclass
class Term:
    """A loss and whom it trained on.

    Attributes:
        loss: scalar; the mean over its samples.
        samples: by parameter group (a modality, `fusion`), the patients that gave this group a gradient. Aggregation
            across hospitals weighs by them. Empty where nobody did: the loss is then zero, and only keeps processes
            that train together in step.
        weight: of the mean, among the means of processes that train together: how much it was taken over.
        share: what to multiply the loss with, so that the mean over these processes is the mean over all they have.
    """

    loss: Tensor
    samples: dict[str, int]
    weight: int = 0
    share: float = 1.0


class Objective(nn.Module, ABC):
    """A pretraining objective: what a batch gives it to learn from, and the loss of that.

    Subclasses need not know of other processes. Those that train together must go through the same modules in the same
    order, or one waits for ever, or gradients of different weights are added up. `forward` sees to it: a process whose
    batch gives nothing computes, times zero, the loss of a batch that another process lends it.
    """

    @property
    def modalities(self) -> tuple[str, ...]:
        """Without which it would never speak."""
        return ()

    @abstractmethod
    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Any:
        """What the batch gives to learn from, in whatever form `loss` takes it; None for nothing.

        It goes through no weights of its own, draws nothing at random, and asks no other process.
        """

    @abstractmethod
    def loss(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: Any) -> Term:
        """The objective's term for what `select` returned of this batch."""

    def forward(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Term | None:
        """The objective's term for one batch; None where no process has anything to learn from."""
        term = self.in_step(encoder, output, batch)
        if term is not None and output.zero_loss is not None:
            # Gradients of processes are averaged as if each had trained on equally many.
            weight = torch.tensor([float(term.weight)], device=output.fused.device)
            term.share = float(processes() * weight / sum_over_processes(weight).clamp(min=1e-9))
        return term

    def in_step(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Term | None:
        """The term without its share among those of all processes; None on all of them or on none."""
        selected = self.select(encoder, output, batch)
        if output.zero_loss is None:  # this process trains alone, or validates
            return None if selected is None else self.loss(encoder, output, batch, selected)
        device = output.fused.device
        speaking = gather_rows(torch.tensor([[int(selected is not None)]], device=device))[:, 0]
        if not speaking.any():
            return None
        lent = (output, batch) if speaking.all() else broadcast((output, batch), int(speaking.argmax()), device)
        if selected is not None:
            return self.loss(encoder, output, batch, selected)
        output, batch = lent
        with without_statistics(encoder), without_statistics(self):
            term = self.loss(encoder, output, batch, self.select(encoder, output, batch))
        return Term(0 * term.loss, {})
