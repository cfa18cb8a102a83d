"""Contrastive alignment of the modality pairs that a batch holds."""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.objectives.base import Objective, Term
from foundation.output import EncoderOutput

_LARGEST_SCALE = 100.0


class Alignment(Objective):
    """Symmetric InfoNCE (CLIP; Radford et al. 2021) over every pair of modalities, each over the patients with both.

    Each modality is also aligned with the fused embedding, so that the patient embedding learns from any pair.

    Args:
        temperature: at the start; learned.
        fused: whether the fused embedding takes part.
        width: of the embeddings; needed for the projection of the fused one.
    """

    def __init__(self, width: int, temperature: float = 0.1, fused: bool = True) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([math.log(1 / temperature)]))  # DeepSpeed takes no scalars
        self.fused = nn.Linear(width, width) if fused else None

    def compare(self, left: Float[Tensor, "pairs width"], right: Float[Tensor, "pairs width"]) -> Tensor:
        """The loss of pairs of unit-length embeddings; in float32 whatever the precision of the encoder."""
        return info_nce(left.float(), right.float(), self.scale())

    def scale(self) -> Tensor:
        """One over the temperature, at most 100 as in CLIP."""
        return self.log_scale.float().exp().clamp(max=_LARGEST_SCALE)

    def forward(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Term | None:
        losses: list[Tensor] = []
        counts: list[int] = []
        taught = {name: torch.zeros(len(batch), dtype=torch.bool, device=output.fused.device) for name in batch.inputs}
        for left, right in itertools.combinations(output.embeddings, 2):
            both = batch.present[left] & batch.present[right]
            count = int(both.sum())
            if count < 2:
                continue
            lefts, rights = (output.embeddings[name][both[batch.present[name]]] for name in (left, right))
            losses.append(self.compare(lefts, rights))
            counts.append(count)
            taught[left] |= both
            taught[right] |= both
        if not losses:
            return self._idle(output)
        samples = {name: int(who.sum()) for name, who in taught.items() if who.any()}
        if self.fused is not None:
            self._align_fused(output, batch, losses, counts)
            samples["fusion"] = int(torch.stack(list(taught.values())).any(dim=0).sum())
        weight = torch.tensor(counts, dtype=torch.float, device=output.fused.device)
        return Term((torch.stack(losses) * weight).sum() / weight.sum(), samples)

    def _idle(self, output: EncoderOutput) -> Term | None:
        """Zero, through every parameter, where other processes have pairs to learn from."""
        if output.tie is None:
            return None
        nobody = output.fused.new_ones(1, 1)
        used = self.compare(nobody, nobody).sum()
        return Term(0 * (used if self.fused is None else used + self.fused(output.fused).sum()), {})

    def _align_fused(self, output: EncoderOutput, batch: Batch, losses: list[Tensor], counts: list[int]) -> None:
        assert self.fused is not None
        fused = functional.normalize(self.fused(output.fused), dim=-1)
        several = torch.stack([batch.present[name] for name in output.embeddings]).sum(0) > 1
        for name, embedding in output.embeddings.items():
            both = several & batch.present[name]
            if int(both.sum()) > 1:
                losses.append(self.compare(fused[both], embedding[both[batch.present[name]]]))
                counts.append(int(both.sum()))


def info_nce(left: Float[Tensor, "pairs width"], right: Float[Tensor, "pairs width"], scale: Tensor) -> Tensor:
    """Cross-entropy of finding each row's partner, both ways."""
    logits = scale * left @ right.T
    target = torch.arange(len(left), device=left.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
