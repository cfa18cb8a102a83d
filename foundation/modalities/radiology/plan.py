"""What a server may ask of the encoder of slices."""

from typing import ClassVar, Literal

from foundation.modalities.image_plan import Images


class Radiology(Images):
    """Slices as pixels."""

    target: ClassVar[str] = "foundation.modalities.radiology.encoder.Radiology"

    kind: Literal["radiology"]


PARTS = (Radiology,)
