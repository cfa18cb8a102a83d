"""Cross-modal reconstruction: expression predicted from images of the same patient."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.pooling import GatedPool
from foundation.objectives.base import Objective, Term
from foundation.objectives.patient_mean import mean_over_patients
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

    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Which of the images' patients have genomics, and the standardised expression of these."""
        if self.source not in output.tokens or "genomics" not in batch.inputs:
            return None
        genomics: Any = encoder.modalities["genomics"]
        assert isinstance(genomics, Genomics)
        both = batch.present[self.source] & batch.present["genomics"]
        target = genomics.standardise(batch.inputs["genomics"]["values"][:, 0])[both[batch.present["genomics"]]]
        return None if target.isnan().all() else (both[batch.present[self.source]], target)

    def loss(
        self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: tuple[Tensor, Tensor]
    ) -> Term:
        pictured, target = selected
        values, mask = output.tokens[self.source]
        embedding: Tensor = self.decode(self.pool(values[pictured], mask[pictured]))
        gene: Any = encoder.modalities["genomics"].gene
        predicted = embedding.to(torch.float32) @ gene.detach().float().T
        known = ~target.isnan()
        errors = functional.smooth_l1_loss(predicted[known], target[known].detach(), reduction="none")
        loss, patients = mean_over_patients(errors, known)
        return Term(loss, {self.source: patients}, patients)
