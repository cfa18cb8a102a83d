"""What a server may ask of the encoder of text."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from foundation.contract import Dropout
from foundation.modalities.plan import MaskRatio, ModalityPart, Pooling


class Report(ModalityPart):
    """Text."""

    target: ClassVar[str] = "foundation.modalities.report.encoder.Report"
    files: ClassVar[dict[str, str]] = {"model": "built_in"}
    owned: ClassVar[tuple[str, ...]] = ("checkpoint_activations",)

    kind: Literal["report"]
    layers: Annotated[int, Field(ge=1, le=128)] = 2
    dropout: Dropout = 0.1
    max_length: Annotated[int, Field(ge=8, le=65_536)] = 128
    model: Literal["built_in", "installed"] = "built_in"
    tune: Literal["full", "frozen", "lora"] = "full"
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 8
    mask_ratio: MaskRatio = 0.15
    pooling: Pooling = "gated"


PARTS = (Report,)
