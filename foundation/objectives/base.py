"""What an objective returns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.output import EncoderOutput


@dataclass
class Term:
    """A loss and whom it taught.

    Attributes:
        loss: scalar; the mean over its samples.
        samples: by parameter group (a modality, `fusion`), the patients that gave this group a gradient. Aggregation
            across hospitals weighs by them. Empty where nobody taught anything: the loss is then zero, and only keeps
            processes that train together in step.
        weight: of the mean, among the means of processes that train together: how much it was taken over.
    """

    loss: Tensor
    samples: dict[str, int]
    weight: int = 0


class Objective(nn.Module, ABC):
    """A pretraining objective; None where a batch gives it nothing to learn from."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Without which it would never speak."""
        return ()

    @abstractmethod
    def forward(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Term | None:
        """The objective's term for one batch."""
