"""Alignment by a sigmoid a pair, which needs no other pairs to be normalised by."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from foundation.objectives.alignment import Alignment
from foundation.objectives.bank import NO_NEGATIVES, Negatives, append_negatives


class SigLip(Alignment):
    """Alignment as `Alignment` does it, by the pairwise sigmoid loss (SigLIP; Zhai et al. 2023, eq. 1).

    Beside the scale, the bias may stay at each site of a federation: `objectives.alignment.bias` by its whole name, for
    `objectives.*.bias` would keep back the biases of every linear layer, too.

    Args:
        width: of the embeddings.
        temperature: at the start; learned.
        fused: whether the fused embedding takes part.
        rows_at_once: see `Alignment`.
        bias: at the start; learned. Below zero, for most pairs are no partners.
    """

    def __init__(
        self,
        width: int,
        temperature: float = 0.1,
        fused: bool = True,
        rows_at_once: int | None = None,
        bias: float = -10.0,
    ) -> None:
        super().__init__(width, temperature, fused, rows_at_once)
        self.bias = nn.Parameter(torch.tensor([bias]))

    def row_losses(
        self,
        left: Float[Tensor, "all width"],
        right: Float[Tensor, "all width"],
        rows: Tensor,
        negatives: Negatives = NO_NEGATIVES,
    ) -> Float[Tensor, " rows"]:
        return sigmoid_rows(left, right, rows, self.scale(), self.bias.float(), negatives)


def sigmoid_rows(
    left: Float[Tensor, "all width"],
    right: Float[Tensor, "all width"],
    rows: Tensor,
    scale: Tensor,
    bias: Tensor,
    negatives: Negatives = NO_NEGATIVES,
) -> Float[Tensor, " rows"]:
    """Log-loss of telling the partners of some rows from negatives, summed over the negatives of a row."""
    logits = scale * left[rows] @ append_negatives(right, negatives.right).T + bias
    partner = torch.full_like(logits, -1).scatter(1, rows[:, None], 1)
    losses = -functional.logsigmoid(partner * logits).sum(dim=1)
    if negatives.left is None:
        return losses
    # A pair within the batch has its row and its column in one table; those from elsewhere are columns and rows of two.
    return losses - functional.logsigmoid(-(scale * right[rows] @ negatives.left.T + bias)).sum(dim=1)
