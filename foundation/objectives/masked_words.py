"""Masked text modelling: hidden word pieces told from the others."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.masks import on_host, real
from foundation.modalities.report.encoder import Report
from foundation.objectives.base import Objective, Term
from foundation.objectives.patient_mean import mean_over_patients
from foundation.output import EncoderOutput


class MaskedWords(Objective):
    """Cross-entropy of the pieces that `Report.transform` hid (BERT; Devlin et al. 2019), every patient counting alike.

    The text passes a second time, corrupted: the tokens that alignment and fusion see are those of the whole text. A
    piece is told by its likeness to the projected embeddings of the vocabulary.

    Args:
        width: of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.decode = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("report",)

    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> Tensor | None:
        inputs = batch.inputs.get("report", {})
        return inputs["masked"] if "masked" in inputs and bool(on_host(inputs["masked"]).any()) else None

    def loss(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: Tensor) -> Term:
        report: Any = encoder.modalities["report"]
        assert isinstance(report, Report)
        inputs = batch.inputs["report"]
        logits = self._logits(report, inputs["corrupted"], inputs["mask"], selected)
        errors = functional.cross_entropy(logits.float(), real(inputs["pieces"], selected), reduction="none")
        loss, patients = mean_over_patients(errors, selected)
        return Term(loss, {"report": patients}, patients)

    def _logits(self, report: Report, pieces: Tensor, mask: Tensor, masked: Tensor) -> Tensor:
        """Logits of the masked pieces, `[masked, vocabulary]`."""
        read = real(report.read(pieces, mask), masked)
        vocabulary = report.to_width(report.text.get_input_embeddings().weight)
        logits: Tensor = self.decode(read) @ vocabulary.T
        return logits
