"""Cross-modal reconstruction: expression predicted from images of the same patient."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.pooling import GatedPool
from foundation.objectives.base import Objective, Term
from foundation.objectives.patient_mean import mean_over_patients
from foundation.output import EncoderOutput


class Selected(NamedTuple):
    """What a batch gives to learn from.

    Attributes:
        pictured: of the images' patients, who has genomics.
        target: their standardised expression, `[both, genes]`.
        spots: expression of tiles `[patients, tiles, genes]`, NaN where not measured; None where no tile has any.
    """

    pictured: Tensor
    target: Tensor
    spots: Tensor | None


class ExpressionFromImages(Objective):
    """Smooth L1 on standardised expression, from pooled image tokens (after HE2RNA, Schmauch et al. 2020).

    Where tiles were cut around spots of spatial transcriptomics, each tile's token also predicts the expression of its
    spot, standardised within its section.

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

    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Selected | None:
        """Which of the images' patients have genomics, with their standardised expression; and expression of tiles."""
        if self.source not in output.tokens or "genomics" not in encoder.modalities:
            return None
        pictured, target = self._profiles(encoder, batch)
        spots = batch.inputs[self.source].get("spots")
        if target.isnan().all() and (spots is None or spots.isnan().all()):
            return None
        return Selected(pictured, target, spots)

    def _profiles(self, encoder: MultimodalEncoder, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the images' patients, who has genomics `[pictured]`, and their expression `[both, genes]`."""
        genomics: Any = encoder.modalities["genomics"]
        assert isinstance(genomics, Genomics)
        if "genomics" not in batch.inputs:
            nobody = torch.zeros_like(batch.present[self.source][batch.present[self.source]])
            return nobody, genomics.expression_mean.new_zeros(0, len(genomics.genes))
        both = batch.present[self.source] & batch.present["genomics"]
        target = genomics.standardise(batch.inputs["genomics"]["values"][:, 0])[both[batch.present["genomics"]]]
        return both[batch.present[self.source]], target

    def loss(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: Selected) -> Term:
        values, mask = output.tokens[self.source]
        pooled = self.pool(values[selected.pictured], mask[selected.pictured])
        tiles = pooled.new_zeros(0, values.shape[-1])
        known = mask.new_zeros(len(values), 0)
        target = selected.target
        if selected.spots is not None:
            measured = ~selected.spots.isnan() & mask[..., None]
            tiles, known = values[measured.any(dim=-1)].to(pooled.dtype), measured.flatten(1)
        # One pass through the decoder, whatever a batch has, keeps processes that train together in step.
        predicted = self.predict(encoder, torch.cat([pooled, tiles]))
        told = ~target.isnan()
        errors = functional.smooth_l1_loss(predicted[: len(pooled)][told], target[told].detach(), reduction="none")
        loss, patients = mean_over_patients(errors, told)
        if selected.spots is None:
            return Term(loss, {self.source: patients}, patients)
        wanted = selected.spots[measured.any(dim=-1)].to(predicted.dtype)
        real = ~wanted.isnan()
        errors = functional.smooth_l1_loss(predicted[len(pooled) :][real], wanted[real].detach(), reduction="none")
        by_spot, spotted = mean_over_patients(errors, known)
        everybody = max(patients + spotted, 1)  # who has a profile and spots is told both
        loss = (loss * patients + by_spot * spotted) / everybody
        return Term(loss, {self.source: everybody}, everybody)

    def predict(self, encoder: MultimodalEncoder, tokens: Float[Tensor, "rows width"]) -> Float[Tensor, "rows genes"]:
        """Standardised expression of each gene, of tokens one by one or pooled."""
        gene: Any = encoder.modalities["genomics"].gene
        embedding: Tensor = self.decode(tokens)
        predicted: Tensor = embedding.to(torch.float32) @ gene.detach().float().T
        return predicted
