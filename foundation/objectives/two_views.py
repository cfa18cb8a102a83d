"""Intra-modal consistency: two views of one patient in one modality find each other."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.modalities.base import Tokens
from foundation.objectives.alignment import info_nce
from foundation.objectives.base import Objective, Term
from foundation.output import EncoderOutput


class TwoViews(Objective):
    """InfoNCE between two views a patient, modality by modality (as SimCLR, Chen et al. 2020, across patients).

    The views share nothing: halves of the tiles, of the slices, of the genes. What both tell is the patient.

    Args:
        width: of the embeddings; not used.
        temperature: of the comparison.
    """

    def __init__(self, width: int, temperature: float = 0.1) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([math.log(1 / temperature)]))

    def scale(self) -> Tensor:
        """One over the temperature, at most 100 as in CLIP."""
        return self.log_scale.float().exp().clamp(max=100)

    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> list[Term] | None:
        # Each modality is in step by itself: of two processes, one may lack the first and the other the second.
        terms = [_Views(name, self.scale).in_step(encoder, output, batch) for name in encoder.modalities]
        return [term for term in terms if term and (term.samples or output.zero_loss is not None)] or None

    def loss(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: list[Term]) -> Term:
        counts = [term.weight for term in selected]
        weight = torch.tensor(counts, dtype=torch.float, device=output.fused.device)
        loss = (torch.stack([term.loss for term in selected]) * weight).sum() / weight.sum().clamp(min=1)
        return Term(loss, {name: n for term in selected for name, n in term.samples.items()}, sum(counts))


class _Views(Objective):
    """The two views of one modality."""

    def __init__(self, name: str, scale: Callable[[], Tensor]) -> None:
        super().__init__()
        self.name = name
        self.scale = scale

    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Tokens | None:
        return output.tokens.get(self.name)

    def loss(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: Tokens) -> Term:
        module: Any = encoder.modalities[self.name]
        views = module.views(batch.inputs[self.name], selected)
        if views is None:
            return Term(torch.zeros((), device=output.fused.device), {})
        count = int(views.who.sum())
        if count < 2:  # known after weights were gone through alone; the way on is that of a batch that has two
            embedded = sum(_embed(module, selected).sum() for _ in range(2))
            seen = views.one.values.sum() + views.other.values.sum()
            return Term(0 * (embedded + seen + self.scale().sum()), {})
        loss = info_nce(_embed(module, views.one), _embed(module, views.other), self.scale())
        return Term(loss, {self.name: count}, count)


def _embed(module: Any, tokens: Tokens) -> Tensor:
    embedding: Tensor = module.embed(tokens)
    return embedding.float()
