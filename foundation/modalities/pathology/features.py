"""Pathology from tile features that another model extracted, instead of pixels."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from foundation.data.dictionary import DataDictionary
from foundation.data.sampler import draw_images
from foundation.data.storage import StoredImages
from foundation.errors import UserError
from foundation.masks import laid_out, mean_of_real, real
from foundation.modalities.base import Examined, Inputs, Modality, Tokens, Views, halves
from foundation.modalities.pathology.request import FeaturesForm


class TileFeatures(Modality):
    """A token a tile, from its feature vector.

    Args:
        width: of the tokens.
        dim: of the features, as the extractor made them.
        max_tiles: at most so many a patient; drawn at random in training, spread evenly otherwise.
        max_tiles_inference: the same where a patient is predicted for: evaluation and serving look at more.
        pooling: `gated` or `transformer`.
        drop_rate: of the features.
    """

    name = "pathology"
    parts = "tiles"

    def __init__(
        self,
        width: int,
        dim: int,
        max_tiles: int = 512,
        max_tiles_inference: int = 4096,
        pooling: str = "transformer",
        drop_rate: float = 0.1,
    ) -> None:
        super().__init__(width, pooling)
        self.dim = dim
        self.max_tiles = max_tiles
        self.max_tiles_inference = max_tiles_inference
        self.drop_rate = drop_rate
        self.to_width = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, width), nn.GELU(), nn.Dropout(drop_rate), nn.Linear(width, width)
        )

    def settings(self) -> dict[str, Any]:
        return super().settings() | {
            "dim": self.dim,
            "max_tiles": self.max_tiles,
            "max_tiles_inference": self.max_tiles_inference,
            "drop_rate": self.drop_rate,
        }

    def request_form(self, dictionary: DataDictionary) -> FeaturesForm:
        return FeaturesForm(dim=self.dim)

    def transform(self, raw: NDArray[np.floating] | StoredImages, generator: torch.Generator | None) -> Inputs:
        """Features of one patient, `[tiles, dim]`, as `[kept, dim]` float32.

        Raises:
            UserError: if they are not of `dim`, for example pixels.
        """
        if len(raw.shape) != 2 or raw.shape[1] != self.dim:
            finding = "images" if len(raw.shape) == 4 else f"{raw.shape[-1]} values a tile"
            raise UserError(
                f"modality.pathology.dim: {self.dim}, but the cohort holds {finding}; "
                "set dim to the extractor's, or use modality@modality.pathology=pathology for pixels"
            )
        most = self.bound(self.max_tiles, self.max_tiles_inference, generator)
        kept = draw_images(len(raw), most, generator)
        features = torch.from_numpy(np.ascontiguousarray(raw[kept], dtype=np.float32))
        return {"features": features, "mask": torch.ones(len(kept), dtype=torch.bool)}

    def examined(self, raw: NDArray[np.floating] | StoredImages, inputs: Inputs) -> Examined:
        return super().examined(raw, inputs)._replace(of=len(raw))

    def blank(self) -> NDArray[np.floating]:
        return np.zeros((1, self.dim), dtype=np.float32)

    def forward(self, inputs: Inputs) -> Tokens:
        mask = inputs["mask"]
        tokens = self.to_width(real(inputs["features"], mask).to(next(self.to_width.parameters()).dtype))
        return Tokens(laid_out(tokens, mask), mask)

    def feature_sizes(self) -> dict[str, int]:
        return {self.name: 2 * self.dim}

    def features(self, inputs: Inputs) -> dict[str, Float[Tensor, "present size"]]:
        """Mean and spread of each feature over a patient's tiles; no spread where there is one tile."""
        mask = inputs["mask"]
        tiles = real(inputs["features"], mask).float()
        mean = mean_of_real(tiles, mask)
        spread = (mean_of_real(tiles.square(), mask) - mean.square()).clamp(min=0).sqrt()
        return {self.name: torch.cat([mean, spread], dim=1)}

    def views(self, inputs: Inputs, tokens: Tokens) -> Views:
        """Two halves of a patient's tiles: no tile is in both."""
        return halves(tokens)
