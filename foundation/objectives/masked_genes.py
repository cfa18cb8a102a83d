"""Masked gene modelling: predict hidden expression values from the genes left visible."""

import torch
from torch import nn
from torch.nn import functional

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.modalities.genomics import Genomics
from foundation.objectives.base import Objective, Term
from foundation.output import EncoderOutput


class MaskedGenes(Objective):
    """Smooth L1 on standardised expression at hidden positions (scGPT-style, Cui et al. 2024, on bulk profiles).

    Args:
        width: of the genomics tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.decode = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("genomics",)

    def forward(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Term | None:
        genomics = encoder.modalities["genomics"]
        assert isinstance(genomics, Genomics)
        tokens = output.tokens.get("genomics", output.idle.get("genomics"))
        inputs = batch.inputs.get("genomics")
        taught = inputs is not None and bool(inputs["masked"].any())
        if tokens is None or not (taught or output.tie is not None):
            return None
        predicted = self.decode(genomics.pool(tokens.values, tokens.mask)) @ genomics.gene.T
        if inputs is None or not taught:
            return Term(0 * predicted.sum(), {})
        masked = inputs["masked"]
        target = genomics.standardise(inputs["values"][:, 0])
        loss = functional.smooth_l1_loss(predicted[masked], target[masked].detach())
        return Term(loss, {"genomics": int(torch.count_nonzero(masked.any(dim=1)))}, int(masked.sum()))
