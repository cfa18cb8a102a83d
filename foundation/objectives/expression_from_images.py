"""Cross-modal reconstruction: expression predicted from images of the same patient."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.modalities.base import Tokens
from foundation.modalities.genomics import Genomics
from foundation.modalities.pools import GatedPool
from foundation.objectives.base import Objective, Term
from foundation.output import EncoderOutput


class ExpressionFromImages(Objective):
    """Smooth L1 on standardised expression, from pooled image tokens (after HE2RNA, Schmauch et al. 2020).

    A gene's prediction is the image's projection on the embedding that the gene encoder has of it, which learns nothing
    here: images come to speak of genes, not genes of images.

    Args:
        width: of the tokens.
        source: modality whose tokens predict.
    """

    def __init__(self, width: int, source: str = "pathology") -> None:
        super().__init__()
        self.source = source
        self.pool = GatedPool(width)
        self.decode = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    @property
    def modalities(self) -> tuple[str, ...]:
        return (self.source, "genomics")

    def forward(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Term | None:
        genomics: Any = encoder.modalities["genomics"]
        assert isinstance(genomics, Genomics)
        if self.source in output.tokens and "genomics" in batch.inputs:
            both = batch.present[self.source] & batch.present["genomics"]
            values, mask = output.tokens[self.source]
            mine = both[batch.present[self.source]]
            target = genomics.standardise(batch.inputs["genomics"]["values"][:, 0])
            target = target[both[batch.present["genomics"]]]
            known = ~target.isnan()
            if known.any():
                predicted = self._predict(Tokens(values[mine], mask[mine]), genomics)
                loss = functional.smooth_l1_loss(predicted[known], target[known].detach())
                return Term(loss, {self.source: int(known.any(dim=1).sum())}, int(known.sum()))
        if output.tie is None:
            return None
        tokens = output.tokens.get(self.source, output.idle.get(self.source))
        assert tokens is not None
        return Term(0 * self._predict(tokens, genomics).sum(), {})

    def _predict(self, tokens: Tokens, genomics: Genomics) -> Tensor:
        embedding: Tensor = self.decode(self.pool(tokens.values, tokens.mask))
        return embedding.to(torch.float32) @ genomics.gene.detach().float().T
