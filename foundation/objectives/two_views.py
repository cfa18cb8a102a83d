"""Intra-modal consistency: two views of one patient in one modality find each other."""

import math

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

    def forward(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Term | None:
        losses: list[Tensor] = []
        counts: dict[str, int] = {}
        together = output.tie is not None
        kept = output.fused.new_zeros(())
        for name, module in encoder.modalities.items():
            if name not in output.tokens and not together:
                continue
            inputs = batch.inputs[name] if name in output.tokens else encoder.blank_inputs(name)
            tokens = output.tokens[name] if name in output.tokens else output.idle[name]
            views = module.views(inputs, tokens)  # type: ignore[operator]
            if views is None:
                continue
            count = int(views.who.sum())
            if count < 2:
                if together:
                    # Through the same modules as where there are views, in the same order.
                    embedded = sum(self._embed(module, tokens).sum() for _ in range(2))
                    kept = kept + 0 * (embedded + views.one.values.sum() + views.other.values.sum())
                continue
            one, other = self._embed(module, views.one), self._embed(module, views.other)
            losses.append(info_nce(one, other, self.log_scale.float().exp().clamp(max=100)))
            counts[name] = count
        if not losses:
            return Term(kept + 0 * self.log_scale.sum(), {}) if together else None
        weight = torch.tensor(list(counts.values()), dtype=torch.float, device=output.fused.device)
        return Term((torch.stack(losses) * weight).sum() / weight.sum() + kept, counts, sum(counts.values()))

    def _embed(self, module: nn.Module, tokens: Tokens) -> Tensor:
        embedding: Tensor = module.embed(tokens)  # type: ignore[operator]
        return embedding.float()
