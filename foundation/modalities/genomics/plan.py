"""What a server may ask of encoders of profiles."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from foundation.modalities.plan import MaskRatio, ModalityPart, Pooling


class Genomics(ModalityPart):
    """Profiles by gene."""

    target: ClassVar[str] = "foundation.modalities.genomics.encoder.Genomics"

    kind: Literal["genomics"]
    latents: Annotated[int, Field(ge=1, le=4096)] = 4
    mask_ratio: MaskRatio = 0.2
    pooling: Pooling = "gated"


class Pathways(ModalityPart):
    """Profiles by gene set."""

    target: ClassVar[str] = "foundation.modalities.genomics.pathways.PathwayGenomics"
    files: ClassVar[dict[str, str]] = {"gmt": "none"}

    kind: Literal["pathways"]
    gmt: Literal["installed"]
    fewest: Annotated[int, Field(ge=1, le=10_000)] = 5
    mask_ratio: MaskRatio = 0.2
    pooling: Pooling = "gated"


PARTS = (
    Genomics,
    Pathways,
)
