"""What a server may ask of the encoder of whole scans."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from foundation.contract import Dropout, Share
from foundation.modalities.plan import ModalityPart, Pooling


class RadiologyVolumes(ModalityPart):
    """Whole scans."""

    target: ClassVar[str] = "foundation.modalities.radiology_volumes.encoder.RadiologyVolumes"

    kind: Literal["radiology_volumes"]
    depth: Literal[10, 18, 34, 50] = 10
    channels: Annotated[int, Field(ge=1, le=1024)] = 16
    max_scans: Annotated[int, Field(ge=1, le=1000)] = 2
    contrast_jitter: Share = 0.1
    drop_rate: Dropout = 0.0
    pooling: Pooling = "gated"


PARTS = (RadiologyVolumes,)
