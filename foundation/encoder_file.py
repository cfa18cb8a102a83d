"""`config.json` of an encoder folder: what it is built of."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ModalityEntry(_Part):
    """A modality's class and its constructor's arguments."""

    type: str
    settings: dict[str, Any]


class Fusion(_Part):
    """The transformer over modalities: its layers, and dropout within."""

    layers: int = Field(ge=0)
    dropout: float = Field(ge=0, lt=1)


class EncoderFile(_Part):
    """The file.

    Attributes:
        width: of tokens and embeddings.
        fusion: of modalities.
        modalities: by name, in the encoder's order.
    """

    format: int
    width: int = Field(gt=0)
    fusion: Fusion
    modalities: dict[str, ModalityEntry] = Field(min_length=1)
