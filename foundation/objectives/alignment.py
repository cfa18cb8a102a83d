"""Contrastive alignment of the modality pairs that a batch holds."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from foundation.batch import Batch
from foundation.distributed import processes
from foundation.encoder import MultimodalEncoder
from foundation.masks import on_host, send
from foundation.objectives.bank import NO_NEGATIVES, Bank, Negatives, append_negatives
from foundation.objectives.base import Objective, Term
from foundation.objectives.gather import Presence, chosen, gather, gather_presence
from foundation.output import EncoderOutput

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
        """Adds patients elsewhere as negatives, in training alone: a loss in validation compares whatever the bank.

        Where several processes train together, all must be given the same.

        Args:
            bank: by modality, `[negatives, width]` of unit length; None or nothing leaves the loss as it was, bit by
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
        negatives: Negatives = NO_NEGATIVES,
    ) -> Float[Tensor, " rows"]:
        """The loss of some rows' pairs among all, for unit-length embeddings in float32."""
        return info_nce_rows(left, right, rows, self.scale(), negatives)

    def compare(
        self,
        left: Float[Tensor, "all width"],
        right: Float[Tensor, "all width"],
        local: Bool[Tensor, " all"] | None = None,
        negatives: Negatives = NO_NEGATIVES,
    ) -> Tensor:
        """This process's share of the mean loss over all pairs, in float32 whatever the precision of the encoder."""
        left, right = left.float(), right.float()
        rows = torch.arange(len(left)) if local is None else on_host(local).nonzero().squeeze(1)
        rows = send(rows, left.device)
        if self.rows_at_once is None or len(rows) <= self.rows_at_once:
            total = self.row_losses(left, right, rows, negatives).sum()
        else:
            parts = rows.split(self.rows_at_once)
            total = torch.stack([self._again(left, right, part, negatives) for part in parts]).sum()
        return total * (1 if local is None else processes()) / len(left)

    def _again(self, left: Tensor, right: Tensor, rows: Tensor, negatives: Negatives) -> Tensor:
        summed: Tensor = checkpoint(
            lambda one, other: self.row_losses(one, other, rows, negatives).sum(), left, right, use_reentrant=False
        )
        return summed

    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> "_Pairs | None":
        presence = gather_presence(list(encoder.modalities), output, batch)
        bank = self.bank if self.training else Bank()
        bank.check(encoder.modalities)
        pairs = []
        for left, right in itertools.combinations(presence.by_modality, 2):
            both = presence.by_modality[left] & presence.by_modality[right]
            negatives = bank.beside(left, right, output.fused.device)
            if int(both.sum()) >= negatives.least:
                pairs.append((left, right, both, negatives))
        return _Pairs(presence, bank, pairs) if pairs else None

    def loss(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: "_Pairs") -> Term:
        fused = output.fused if self.fused is None else functional.normalize(self.fused(output.fused), dim=-1)
        gathered = gather(selected.presence, output, fused)
        present, local = selected.presence.by_modality, selected.presence.local
        losses: list[Tensor] = []
        counts: list[int] = []
        trained = {name: torch.zeros_like(local) for name in present}
        for left, right, both, negatives in selected.pairs:
            lefts, rights = (chosen(gathered.embeddings[name], both[present[name]]) for name in (left, right))
            losses.append(self.compare(lefts, rights, local[both], negatives))
            counts.append(int(both.sum()))
            trained[left] |= both
            trained[right] |= both
        samples = {name: int((who & local).sum()) for name, who in trained.items() if (who & local).any()}
        if self.fused is not None:
            several = torch.stack(list(present.values())).sum(0) > 1
            for name, embedding in gathered.embeddings.items():
                both = several & present[name]
                negatives = selected.bank.beside(None, name, fused.device)
                if int(both.sum()) >= negatives.least:
                    rights = chosen(embedding, both[present[name]])
                    losses.append(self.compare(chosen(gathered.fused, both), rights, local[both], negatives))
                    counts.append(int(both.sum()))
            if samples:
                samples["fusion"] = int((torch.stack(list(trained.values())).any(dim=0) & local).sum())
        weight = send(torch.tensor(counts, dtype=torch.float), fused.device)
        # A modality that nobody shares here has a gradient of zero, not none: its weights decay with all the others.
        lone = 0 * sum(values.sum() for values in gathered.embeddings.values())
        return Term((torch.stack(losses) * weight).sum() / weight.sum() + lone, samples, weight=1)


@dataclass
class _Pairs:
    """Pairs of modalities that enough of all processes' patients have, with who has both and whom to tell them from."""

    presence: Presence
    bank: Bank
    pairs: list[tuple[str, str, Tensor, Negatives]]


def info_nce_rows(
    left: Float[Tensor, "all width"],
    right: Float[Tensor, "all width"],
    rows: Tensor,
    scale: Tensor,
    negatives: Negatives = NO_NEGATIVES,
) -> Float[Tensor, " rows"]:
    """Cross-entropy of finding the partners of some rows among all and negatives, mean of both ways."""
    there = functional.cross_entropy(
        scale * left[rows] @ append_negatives(right, negatives.right).T, rows, reduction="none"
    )
    back = functional.cross_entropy(
        scale * right[rows] @ append_negatives(left, negatives.left).T, rows, reduction="none"
    )
    return (there + back) / 2


def info_nce(left: Float[Tensor, "pairs width"], right: Float[Tensor, "pairs width"], scale: Tensor) -> Tensor:
    """Cross-entropy of finding each row's partner, both ways, mean over rows."""
    return info_nce_rows(left, right, torch.arange(len(left), device=left.device), scale).mean()
