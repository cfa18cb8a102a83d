"""Contrastive alignment of the modality pairs that a batch holds."""

import itertools
import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.objectives.bank import NOBODY, Bank, Strangers, below
from foundation.objectives.base import Objective, Term
from foundation.objectives.gather import gather
from foundation.output import EncoderOutput
from foundation.processes import processes

_LARGEST_SCALE = 100.0


class Alignment(Objective):
    """Symmetric InfoNCE (CLIP; Radford et al. 2021) over every pair of modalities, each over the patients with both.

    Each modality is also aligned with the fused embedding, so that the patient embedding learns from any pair. Where
    several processes train together, everybody's patients are compared: loss and gradient are those of one process with
    the whole batch, and each computes the rows of its own patients.

    In a federation the scale may stay at each site (`strategy.local=[objectives.*.log_scale]`), and a bank may bring
    in patients of other sites (`set_bank`).

    Args:
        width: of the embeddings.
        temperature: at the start; learned.
        fused: whether the fused embedding takes part.
        rows_at_once: how many rows of the table of likenesses are held at a time; all if None. Fewer take less memory
            and are computed again in the backward pass.
    """

    def __init__(
        self, width: int, temperature: float = 0.1, fused: bool = True, rows_at_once: int | None = None
    ) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([math.log(1 / temperature)]))  # DeepSpeed takes no scalars
        self.fused = nn.Linear(width, width) if fused else None
        self.rows_at_once = rows_at_once
        self.width = width
        self.bank = Bank()

    def set_bank(self, bank: Mapping[str, Tensor] | None) -> None:
        """Adds patients elsewhere as strangers, in training alone: a loss in validation compares whatever the bank.

        Where several processes train together, all must be given the same.

        Args:
            bank: by modality, `[strangers, width]` of unit length; None or nothing leaves the loss as it was, bit by
                bit.

        Raises:
            UserError: if they do not fit the embeddings.
        """
        self.bank = Bank(bank, self.width)

    def scale(self) -> Tensor:
        """One over the temperature, at most 100 as in CLIP."""
        return self.log_scale.float().exp().clamp(max=_LARGEST_SCALE)

    def row_losses(
        self,
        left: Float[Tensor, "all width"],
        right: Float[Tensor, "all width"],
        rows: Tensor,
        strangers: Strangers = NOBODY,
    ) -> Float[Tensor, " rows"]:
        """The loss of some rows' pairs among all, for unit-length embeddings in float32."""
        return info_nce_rows(left, right, rows, self.scale(), strangers)

    def compare(
        self,
        left: Float[Tensor, "all width"],
        right: Float[Tensor, "all width"],
        own: Bool[Tensor, " all"] | None = None,
        strangers: Strangers = NOBODY,
    ) -> Tensor:
        """This process's share of the mean loss over all pairs, in float32 whatever the precision of the encoder."""
        left, right = left.float(), right.float()
        rows = torch.arange(len(left), device=left.device) if own is None else own.nonzero().squeeze(1)
        if self.rows_at_once is None or len(rows) <= self.rows_at_once:
            total = self.row_losses(left, right, rows, strangers).sum()
        else:
            parts = rows.split(self.rows_at_once)
            total = torch.stack([self._again(left, right, part, strangers) for part in parts]).sum()
        return total * (1 if own is None else processes()) / len(left)

    def _again(self, left: Tensor, right: Tensor, rows: Tensor, strangers: Strangers) -> Tensor:
        summed: Tensor = checkpoint(
            lambda one, other: self.row_losses(one, other, rows, strangers).sum(), left, right, use_reentrant=False
        )
        return summed

    def forward(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Term | None:
        fused = output.fused if self.fused is None else functional.normalize(self.fused(output.fused), dim=-1)
        all_ = gather(list(encoder.modalities), output, batch, fused)
        bank = self.bank if self.training else Bank()
        bank.check(encoder.modalities)
        losses: list[Tensor] = []
        counts: list[int] = []
        taught = {name: torch.zeros_like(all_.own) for name in all_.present}
        for left, right in itertools.combinations(all_.present, 2):
            both = all_.present[left] & all_.present[right]
            strangers = bank.beside(left, right, fused.device)
            if int(both.sum()) < strangers.least:
                continue
            lefts, rights = (all_.embeddings[name][both[all_.present[name]]] for name in (left, right))
            losses.append(self.compare(lefts, rights, all_.own[both], strangers))
            counts.append(int(both.sum()))
            taught[left] |= both
            taught[right] |= both
        if not losses and output.tie is None:
            return None
        # Every process goes through the same exchange in the backward pass, whether or not it has rows of its own.
        kept = 0 * (all_.fused.sum() + sum(values.sum() for values in all_.embeddings.values()) + self.log_scale.sum())
        if not losses:
            return Term(kept, {}, weight=1)
        samples = {name: int((who & all_.own).sum()) for name, who in taught.items() if (who & all_.own).any()}
        if self.fused is not None:
            several = torch.stack(list(all_.present.values())).sum(0) > 1
            for name, embedding in all_.embeddings.items():
                both = several & all_.present[name]
                strangers = bank.beside(None, name, fused.device)
                if int(both.sum()) >= strangers.least:
                    rights = embedding[both[all_.present[name]]]
                    losses.append(self.compare(all_.fused[both], rights, all_.own[both], strangers))
                    counts.append(int(both.sum()))
            if samples:
                samples["fusion"] = int((torch.stack(list(taught.values())).any(dim=0) & all_.own).sum())
        weight = torch.tensor(counts, dtype=torch.float, device=fused.device)
        return Term((torch.stack(losses) * weight).sum() / weight.sum() + kept, samples, weight=1)


def info_nce_rows(
    left: Float[Tensor, "all width"],
    right: Float[Tensor, "all width"],
    rows: Tensor,
    scale: Tensor,
    strangers: Strangers = NOBODY,
) -> Float[Tensor, " rows"]:
    """Cross-entropy of finding the partners of some rows among all and strangers, mean of both ways."""
    there = functional.cross_entropy(scale * left[rows] @ below(right, strangers.right).T, rows, reduction="none")
    back = functional.cross_entropy(scale * right[rows] @ below(left, strangers.left).T, rows, reduction="none")
    return (there + back) / 2


def info_nce(left: Float[Tensor, "pairs width"], right: Float[Tensor, "pairs width"], scale: Tensor) -> Tensor:
    """Cross-entropy of finding each row's partner, both ways, mean over rows."""
    return info_nce_rows(left, right, torch.arange(len(left), device=left.device), scale).mean()
