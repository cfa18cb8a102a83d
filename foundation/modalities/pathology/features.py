"""Pathology from tile features that an image encoder extracted, instead of pixels; from pixels where it is at hand."""

import shutil
from collections.abc import Mapping
from pathlib import Path
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
from foundation.modalities.extractor import FeatureExtractor, read_settings
from foundation.modalities.image_request import RequestImages
from foundation.modalities.pathology.request import FeaturesForm
from foundation.run_output import folder_digest

EXTRACTOR = "extractor"  # its folder within an encoder's
_AT_ONCE = 64  # images that pass through the extractor together
Raw = NDArray[Any] | StoredImages | RequestImages


class TileFeatures(Modality):
    """A token a tile, from its feature vector.

    Args:
        width: of the tokens.
        dim: of the features, as the extractor made them; as the cohort says if None.
        max_tiles: at most so many a patient; drawn at random in training, spread evenly otherwise.
        max_tiles_inference: the same where a patient is predicted for: evaluation and serving look at more.
        pooling: `gated` or `transformer`.
        drop_rate: of the features.
        extractor: folder of the image encoder that made them (`python -m foundation.data features` writes it). It
            travels with the encoder, and makes the same features of raw tiles where a patient is predicted for.
        of_cohort: what the cohort says of its features: `encoder`, `encoder_digest` and `dim`.
    """

    name = "pathology"
    parts = "tiles"
    several = True

    def __init__(
        self,
        width: int,
        dim: int | None = None,
        max_tiles: int = 512,
        max_tiles_inference: int = 4096,
        pooling: str = "transformer",
        drop_rate: float = 0.1,
        extractor: str | None = None,
        of_cohort: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(width, pooling)
        self.of_cohort = dict(of_cohort or {})
        self.extractor = None if extractor is None else Path(extractor)
        self._loaded: list[FeatureExtractor] = []  # in a list, lest its weights be taken for the encoder's own
        dim = self.dim = self._agreed_dim(dim)
        self.max_tiles = max_tiles
        self.max_tiles_inference = max_tiles_inference
        self.drop_rate = drop_rate
        self.to_width = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, width), nn.GELU(), nn.Dropout(drop_rate), nn.Linear(width, width)
        )

    @classmethod
    def needs(cls, dictionary: DataDictionary) -> dict[str, Any]:
        return {"of_cohort": dictionary.settings.get(cls.name)}

    def _agreed_dim(self, dim: int | None) -> int:
        """The one number that config, cohort and extractor say.

        Raises:
            UserError: if they differ, or nobody says it.
        """
        wanted = {"the config": dim, "the cohort": self.of_cohort.get("dim")}
        if self.extractor is not None:
            wanted["its extractor"] = read_settings(self.extractor)["dim"]
            digest = folder_digest(self.extractor)
            if self.of_cohort.get("encoder_digest", digest) != digest:
                finding = f"not the encoder that made the cohort's features ({self.of_cohort.get('encoder')})"
                advice = "name the extractor folder of the same run of python -m foundation.data features"
                raise UserError(f"modality.{self.name}.extractor: {self.extractor}: {finding}; {advice}")
        numbers = {who: number for who, number in wanted.items() if number is not None}
        if not numbers:
            raise UserError(f"modality.{self.name}.dim: neither set nor known of the cohort; set it to the extractor's")
        if len(set(numbers.values())) > 1:
            says = ", ".join(f"{number} by {who}" for who, number in numbers.items())
            raise UserError(f"modality.{self.name}.dim: {says}; leave it out, and name the extractor of the cohort")
        return int(next(iter(numbers.values())))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {
            "extractor": None if self.extractor is None else EXTRACTOR,
            "of_cohort": self.of_cohort,
            "dim": self.dim,
            "max_tiles": self.max_tiles,
            "max_tiles_inference": self.max_tiles_inference,
            "drop_rate": self.drop_rate,
        }

    def save_assets(self, folder: Path) -> None:
        if self.extractor is not None:
            shutil.copytree(self.extractor, folder / EXTRACTOR)

    @classmethod
    def load(cls, settings: dict[str, Any], folder: Path) -> "Modality":
        if settings.get("extractor") is not None:
            settings = settings | {"extractor": str(folder / EXTRACTOR)}
        return super().load(settings, folder)

    def check_cohort(self, dictionary: DataDictionary, cohort: str) -> None:
        here, there = self.of_cohort, dictionary.settings.get(self.name, {})
        if here and there and here.get("encoder_digest") != there.get("encoder_digest"):
            raise UserError(
                f"encoder: it reads features of {here.get('encoder')}, cohort {cohort} holds those of another "
                f"({there.get('encoder')}); take the cohort's features with the same one"
            )

    def request_form(self, dictionary: DataDictionary) -> FeaturesForm:
        if self.extractor is None:
            return FeaturesForm(dim=self.dim)
        settings = read_settings(self.extractor)
        tile = {name: settings[name] for name in ("mpp", "tile")}
        return FeaturesForm(dim=self.dim, size=settings["pixels"]["size"], **tile)

    def transform(self, raw: Raw, generator: torch.Generator | None) -> Inputs:
        """Features of one patient, `[tiles, dim]`, as `[kept, dim]` float32; of raw tiles the extractor's.

        Raises:
            UserError: if they are not of `dim`, or pixels where there is no extractor, or in training.
        """
        most = self.bound(self.max_tiles, self.max_tiles_inference, generator)
        kept = draw_images(len(raw), most, generator)
        if isinstance(raw, RequestImages) or len(raw.shape) == 4:
            features = self._extracted(raw, kept, generator)
        elif len(raw.shape) == 2 and raw.shape[1] == self.dim:
            features = raw[kept]
        else:
            raise self._unfit(f"{raw.shape[-1]} values a tile")
        values = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
        return {"features": values, "mask": torch.ones(len(kept), dtype=torch.bool)}

    def _extracted(
        self, raw: Raw, kept: NDArray[np.integer], generator: torch.Generator | None
    ) -> NDArray[np.floating]:
        """Features `[kept, dim]` of raw tiles, some at a time."""
        if self.extractor is None or generator is not None:
            raise self._unfit("images")
        if not self._loaded:
            self._loaded.append(FeatureExtractor.load(self.extractor))
        extractor = self._loaded[0].to(next(self.to_width.parameters()).device)
        parts = [kept[start : start + _AT_ONCE] for start in range(0, len(kept), _AT_ONCE)]
        rows = [raw.rows(part) if isinstance(raw, RequestImages | StoredImages) else list(raw[part]) for part in parts]
        return np.concatenate([extractor.encode(part) for part in rows])

    def _unfit(self, finding: str) -> UserError:
        return UserError(
            f"modality.pathology.dim: {self.dim}, but the cohort holds {finding}; set dim to the extractor's, take "
            "features first (python -m foundation.data features), or use modality@modality.pathology=pathology for "
            "pixels"
        )

    def examined(self, raw: Raw, inputs: Inputs) -> Examined:
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
