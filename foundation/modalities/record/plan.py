"""What a server may ask of the encoder of clinical columns."""

from typing import ClassVar, Literal

from foundation.modalities.plan import ModalityPart, Pooling


class Record(ModalityPart):
    """Columns of the clinical record."""

    target: ClassVar[str] = "foundation.modalities.record.encoder.Record"

    kind: Literal["record"]
    pooling: Pooling = "gated"


PARTS = (Record,)
