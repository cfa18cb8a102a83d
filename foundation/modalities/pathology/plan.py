"""What a server may ask of encoders of tiles."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from foundation.contract import Dropout, Part, Share
from foundation.modalities.image_plan import Images
from foundation.modalities.plan import ModalityPart, Pooling


class StainReference(Part):
    """Amounts of stain that tiles are brought to."""

    mean: Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]
    spread: Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]


class Pathology(Images):
    """Tiles as pixels."""

    target: ClassVar[str] = "foundation.modalities.pathology.encoder.Pathology"

    kind: Literal["pathology"]
    stain_jitter: Share = 0.0
    stain_reference: StainReference | None = None


class PathologyFeatures(ModalityPart):
    """Tiles as features of an extractor."""

    target: ClassVar[str] = "foundation.modalities.pathology.features.TileFeatures"

    files: ClassVar[dict[str, str]] = {"extractor": "none"}

    kind: Literal["pathology_features"]
    dim: Annotated[int, Field(ge=1, le=65_536)] | None = None
    extractor: Literal["none", "installed"] = "none"
    max_tiles: Annotated[int, Field(ge=1, le=100_000)] = 512
    pooling: Pooling = "transformer"
    drop_rate: Dropout = 0.1


PARTS = (
    Pathology,
    PathologyFeatures,
)
