"""Pathology: H&E tiles, a token a tile."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.modalities.base import Inputs
from foundation.modalities.images import ImageSet
from foundation.modalities.stain import draw_stain, restain


class Pathology(ImageSet):
    """Tiles of a patient's slides or regions, RGB.

    Args:
        width: of the tokens.
        stain_jitter: strength of stain augmentation in training, the same for all tiles of a patient; 0.05 is light,
            0.2 strong, none by default.
        images: see `ImageSet`.
    """

    name = "pathology"

    def __init__(self, width: int, stain_jitter: float = 0.0, **images: Any) -> None:
        super().__init__(width, **images)
        self.stain_jitter = stain_jitter

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"stain_jitter": self.stain_jitter}

    def transform(self, raw: NDArray[np.uint8], generator: torch.Generator | None) -> Inputs:
        inputs = super().transform(raw, generator)
        if generator is None or self.stain_jitter == 0:
            return inputs
        stain = draw_stain(1, self.stain_jitter, generator)
        return inputs | {"stain": stain.expand(len(inputs["images"]), 2, 3)}

    def recolour(self, images: Tensor, drawn: Inputs) -> Tensor:
        return super().recolour(restain(images, drawn["stain"]) if "stain" in drawn else images, drawn)
