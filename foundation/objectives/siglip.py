"""Alignment by a sigmoid a pair, which needs no other pairs to be normalised by."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from foundation.objectives.alignment import Alignment


class SigLip(Alignment):
    """Alignment as `Alignment` does it, by the pairwise sigmoid loss (SigLIP; Zhai et al. 2023, eq. 1).

    Args:
        width: of the embeddings.
        temperature: at the start; learned.
        fused: whether the fused embedding takes part.
        bias: at the start; learned. Below zero, for most pairs are no partners.
    """

    def __init__(self, width: int, temperature: float = 0.1, fused: bool = True, bias: float = -10.0) -> None:
        super().__init__(width, temperature, fused)
        self.bias = nn.Parameter(torch.tensor([bias]))

    def compare(self, left: Float[Tensor, "pairs width"], right: Float[Tensor, "pairs width"]) -> Tensor:
        return pairwise_sigmoid(left.float(), right.float(), self.scale(), self.bias.float())


def pairwise_sigmoid(
    left: Float[Tensor, "pairs width"], right: Float[Tensor, "pairs width"], scale: Tensor, bias: Tensor
) -> Tensor:
    """Log-loss of telling partners (same row) from strangers, summed over the strangers of a row, mean over rows."""
    logits = scale * left @ right.T + bias
    partner = 2 * torch.eye(len(left), device=left.device) - 1
    return -functional.logsigmoid(partner * logits).sum(dim=1).mean()
