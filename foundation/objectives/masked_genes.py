"""Masked gene modelling: predict hidden expression values from the genes left visible."""

from torch import Tensor, nn
from torch.nn import functional

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.masks import on_host, real
from foundation.modalities.genomics.encoder import Genomics
from foundation.objectives.base import Objective, Term
from foundation.objectives.patient_mean import mean_over_patients
from foundation.output import EncoderOutput


class MaskedGenes(Objective):
    """Smooth L1 on standardised expression at hidden positions (scGPT-style, Cui et al. 2024, on bulk profiles).

    Every patient counts alike.

    Args:
        width: of the genomics tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.decode = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("genomics",)

    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Tensor | None:
        inputs = batch.inputs.get("genomics")
        return inputs["masked"] if inputs is not None and bool(on_host(inputs["masked"]).any()) else None

    def loss(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: Tensor) -> Term:
        genomics = encoder.modalities["genomics"]
        assert isinstance(genomics, Genomics)
        tokens = output.tokens["genomics"]
        predicted = self.decode(genomics.pool(tokens.values, tokens.mask)) @ genomics.gene.T
        target = genomics.standardise(batch.inputs["genomics"]["values"][:, 0])
        errors = functional.smooth_l1_loss(real(predicted, selected), real(target, selected).detach(), reduction="none")
        loss, patients = mean_over_patients(errors, selected)
        return Term(loss, {"genomics": patients}, patients)
