"""What a server may ask of an encoder of images."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from foundation.contract import Dropout, Share
from foundation.modalities.plan import ModalityPart, Pooling

Pixels = Annotated[tuple[Annotated[float, Field(ge=-10, le=10)], ...], Field(min_length=1, max_length=4)]
ModelOption = Literal[
    "init_values", "reg_tokens", "dynamic_img_size", "class_token", "no_embed_class", "qk_norm", "drop_path_rate"
]
# Names of timm's models hold a digit or a line, but for two: `os.system`, which no model is called, is none of them.
BACKBONE = r"^([a-z]+[0-9_][a-z0-9_]{0,78}|nasnetalarge|ecaresnetlight)(\.[a-z0-9_]{1,80})?$"


class Images(ModalityPart):
    """Images through one of timm's models."""

    files: ClassVar[dict[str, str]] = {"weights": "random"}
    owned: ClassVar[tuple[str, ...]] = ("checkpoint_activations",)

    backbone: Annotated[str, Field(pattern=BACKBONE)] = "resnet10t"
    size: Annotated[int, Field(ge=8, le=4096)] | None = None
    max_images: Annotated[int, Field(ge=1, le=10_000)] = 4
    colour_jitter: Share = 0.2
    drop_rate: Dropout = 0.0
    weights: Literal["random", "installed"] = "random"
    tune: Literal["full", "frozen", "lora"] = "full"
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 8
    pooling: Pooling = "gated"
    patch_dropout: Dropout = 0.0
    model_args: dict[ModelOption, bool | int | Annotated[float, Field(ge=-10, le=10)]] = Field({})
    mean: Pixels | None = None
    std: Pixels | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
