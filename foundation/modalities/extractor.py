"""An image encoder that turns tiles into features once: any of timm or transformers, as its authors use it.

Its folder, `extractor.json` and `model.safetensors`, is all that another machine needs to make the same features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig

from foundation.errors import UserError
from foundation.files import read_json, replacing_folder, write_json
from foundation.modalities.backbones import BackboneSource, create_backbone
from foundation.modalities.feature_layers import check_layers, layer_features, mean_over_flips, moments
from foundation.modalities.pixels import PixelSettings
from foundation.modalities.pretrained_files import WEIGHTS
from foundation.modalities.stain_normalisation import METHODS
from foundation.modalities.transformers_backbone import TransformersBackbone, is_transformers, read_pixels
from foundation.run_output import folder_digest
from foundation.tensors import load_weights, write_tensors

SETTINGS = "extractor.json"
_FORMAT = 1
_SETTING = "extractor"
_ORIGIN = ("library", "backbone", "model_args", "config")  # of settings, by library
_POOLINGS = ("own", "class", "mean", "class_mean", "moments")
_PRECISIONS = ("float32", "float16")


class FeatureExtractor(nn.Module):
    """A frozen image encoder, from images to a feature vector each.

    Args:
        backbone: `timm` name, `hf-hub:` and a repository in timm's form, a transformers repository (`owner/name`), or a
            local folder of either.
        weights: for a timm name, a local `.safetensors` file, or `hub`; folders and repositories bring theirs.
        model_args: options of a timm model, such as `init_values` or `mlp_layer`.
        size: side to which images are brought; the encoder's own if None.
        mean: of each channel, of pixels in 0 to 1; the encoder's own if None.
        std: likewise.
        interpolation: likewise, `bilinear` or `bicubic`.
        pooling: of its places: `own` as the model answers, `class` the class token, `mean` over places, `class_mean`
            both side by side (Virchow), `moments` mean and spread.
        layers: inner modules whose mean and spread over places are the features, side by side, instead.
        stain: normalisation of each tile, `macenko` or `reinhard`; none if None.
        flips: whether the mean over an image and its three mirror images is taken.
        mpp: microns per pixel that it was trained at; as the cohort declares if None.
        tile: side at `mpp` of what it was trained to see, in pixels; its size if None.
        precision: in which features are kept, `float32` or `float16`.
        name: by which features name it; the backbone if None.
    """

    def __init__(
        self,
        backbone: str,
        weights: str | None = None,
        model_args: Mapping[str, Any] | None = None,
        size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: str | None = None,
        pooling: str = "own",
        layers: Sequence[str] = (),
        flips: bool = False,
        mpp: float | None = None,
        tile: int | None = None,
        precision: str = "float32",
        stain: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        _choose("pooling", pooling, _POOLINGS)
        _choose("precision", precision, _PRECISIONS)
        _choose("stain", stain, (None, *METHODS))
        self.name = name or backbone
        self.origin: dict[str, Any] = {}
        pixels = (size, mean, std, interpolation)
        if is_transformers(backbone):
            self._from_transformers(backbone, weights, model_args or {}, *pixels)
        else:
            self._from_timm(backbone, weights, model_args or {}, *pixels)
        self._set_use(pooling, layers, flips, mpp, tile, precision, stain)

    def _from_timm(
        self, backbone: str, weights: str | None, options: Mapping[str, Any], size: int | None, *pixels: Any
    ) -> None:
        if weights is None and backbone.startswith("hf-hub:"):
            weights = "hub"
        source = BackboneSource.resolve(backbone, weights, options, _SETTING)
        if source.weights is None:
            advice = "name a .safetensors file, or hub for those that timm publishes"
            raise UserError(f"{_SETTING}.weights: none, and features of random weights say nothing; {advice}")
        self.pixel_settings = source.pixel_settings(_SETTING, size, *pixels)
        self.backbone = create_backbone(source, self.pixel_settings.size, 0.0, _SETTING)
        self.origin = {"library": "timm", "backbone": source.name, "model_args": source.options}

    def _from_transformers(
        self, backbone: str, weights: str | None, options: Mapping[str, Any], size: int | None, *pixels: Any
    ) -> None:
        if weights is not None or options:
            field = "weights" if weights is not None else "model_args"
            raise UserError(f"{_SETTING}.{field}: {backbone} is of transformers and brings its own; drop it")
        self.pixel_settings = _overridden(read_pixels(backbone, _SETTING), size, *pixels)
        self.backbone = TransformersBackbone.from_pretrained(backbone, _SETTING)
        config = self.backbone.model.config
        self.origin = {"library": "transformers", "config": config.to_dict()}

    def _set_use(
        self,
        pooling: str,
        layers: Sequence[str],
        flips: bool,
        mpp: float | None,
        tile: int | None,
        precision: str,
        stain: str | None,
    ) -> None:
        self.pooling, self.layers, self.flips = pooling, list(layers), flips
        for field, value in (("mpp", mpp), ("tile", tile)):
            if value is not None and not value > 0:
                raise UserError(f"{_SETTING}.{field}: found {value}; give a number above 0, or null")
        self.mpp, self.precision, self.stain = mpp, precision, stain
        self.tile = self.pixel_settings.size if tile is None else tile
        check_layers(self.backbone, self.layers, _SETTING)
        self.requires_grad_(False)
        self.eval()
        with torch.inference_mode():
            self.dim = self(torch.zeros(1, 3, self.pixel_settings.size, self.pixel_settings.size)).shape[1]

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """It stays in evaluation mode."""
        super().train(False)
        return self

    def settings(self) -> dict[str, Any]:
        """All that its features depend on but the weights, as JSON can hold it."""
        return {
            "format": _FORMAT,
            "name": self.name,
            **self.origin,
            "pixels": asdict(self.pixel_settings),
            "pooling": self.pooling,
            "layers": self.layers,
            "flips": self.flips,
            "mpp": self.mpp,
            "tile": self.tile,
            "precision": self.precision,
            "stain": self.stain,
            "dim": self.dim,
        }

    def save(self, folder: Path) -> None:
        """Writes its folder; it appears when it is complete."""
        with replacing_folder(folder) as temporary:
            write_json(temporary / SETTINGS, self.settings())
            write_tensors(temporary / WEIGHTS, self.backbone.state_dict())

    @classmethod
    def load(cls, folder: Path) -> "FeatureExtractor":
        """Rebuilds it from its folder, with no pickle on the way.

        Raises:
            UserError: if the folder is none, damaged, or of another release.
        """
        settings = read_settings(folder)
        extractor = cls.__new__(cls)
        nn.Module.__init__(extractor)
        extractor.name = settings["name"]
        pixels = settings["pixels"]
        extractor.pixel_settings = PixelSettings(
            pixels["size"], tuple(pixels["mean"]), tuple(pixels["std"]), pixels["interpolation"]
        )
        if settings["library"] == "timm":
            source = BackboneSource.resolve(settings["backbone"], None, settings["model_args"], _SETTING)
            extractor.backbone = create_backbone(source, pixels["size"], 0.0, _SETTING)
        else:
            config = dict(settings["config"])
            extractor.backbone = TransformersBackbone(AutoConfig.for_model(config.pop("model_type"), **config))
        extractor.origin = {name: settings[name] for name in _ORIGIN if name in settings}
        load_weights(extractor.backbone, folder / WEIGHTS)
        use = [settings[name] for name in ("pooling", "layers", "flips", "mpp", "tile", "precision", "stain")]
        extractor._set_use(*use)
        return extractor

    def encode(self, rows: list[NDArray[np.uint8]]) -> NDArray[np.floating]:
        """Features `[images, dim]` of RGB images `[height, width, 3]` of whatever sizes, as they are kept."""
        device = next(self.backbone.parameters()).device
        if self.stain is not None:
            rows = [METHODS[self.stain](row) for row in rows]
        images = self.pixel_settings.resized(rows).to(device)
        with torch.inference_mode():
            pixels = images.permute(0, 3, 1, 2).float().div_(255)
            features = self(self.pixel_settings.normalised(pixels))
        return np.asarray(features.float().cpu().numpy().astype(self.precision))

    def forward(self, pixels: Float[Tensor, "images 3 size size"]) -> Float[Tensor, "images dim"]:
        if self.flips:
            return mean_over_flips(pixels, lambda view: (view, {"": self._seen(view)}))[1][""]
        return self._seen(pixels)

    def _seen(self, pixels: Tensor) -> Tensor:
        if self.layers:
            return torch.cat(list(layer_features(self.backbone, pixels, self.layers)[1].values()), dim=1)
        if self.pooling == "own":
            seen: Tensor = self.backbone(pixels)
            if seen.ndim != 2:
                advice = f"choose another {_SETTING}.pooling, such as class_mean"
                raise UserError(f"{_SETTING}.pooling: {self.name} answers with {list(seen.shape[1:])}; {advice}")
            return seen
        return self._pooled(self.backbone.forward_features(pixels))

    def _pooled(self, seen: Tensor) -> Tensor:
        """Tokens `[images, prefix and places, dim]` or maps of either order, as `pooling` says."""
        prefix = getattr(self.backbone, "num_prefix_tokens", 0) if seen.ndim == 3 else 0
        if seen.ndim == 4:
            seen = (seen.permute(0, 2, 3, 1) if seen.shape[1] == self.backbone.num_features else seen).flatten(1, 2)
        if self.pooling.startswith("class") and not prefix:
            raise UserError(f"{_SETTING}.pooling: {self.pooling}, but {self.name} has no class token; set it to mean")
        places = seen[:, prefix:]
        if self.pooling == "class":
            return seen[:, 0]
        if self.pooling == "class_mean":
            return torch.cat([seen[:, 0], places.mean(dim=1)], dim=1)
        return moments(places) if self.pooling == "moments" else places.mean(dim=1)


def read_settings(folder: Path) -> dict[str, Any]:
    """What the folder of an extractor says of it.

    Raises:
        UserError: if it is none, or of another release.
    """
    advice = "give the `extractor` folder of python -m foundation.data features"
    content = read_json(folder / SETTINGS, advice, "name", "library", "pixels", "dim")
    if content.get("format") != _FORMAT:
        raise UserError(f"{folder / SETTINGS}: format {content.get('format')!r}, this release reads {_FORMAT}")
    return content


def digest(folder: Path) -> str:
    """Of an extractor's folder: settings and weights."""
    return folder_digest(folder)


def _overridden(pixels: PixelSettings, size: int | None, *others: Any) -> PixelSettings:
    mean, std, interpolation = others
    return PixelSettings(
        pixels.size if size is None else size,
        pixels.mean if mean is None else tuple(mean),
        pixels.std if std is None else tuple(std),
        pixels.interpolation if interpolation is None else interpolation,
    )


def _choose(field: str, value: str | None, among: Sequence[str | None]) -> None:
    if value not in among:
        choice = ", ".join("null" if one is None else one for one in among)
        raise UserError(f"{_SETTING}.{field}: found {value!r}; choose from {choice}")
