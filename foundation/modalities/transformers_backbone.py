"""Image encoders of Hugging Face's transformers, with the interface of timm's: features, places, and their pixels."""

from pathlib import Path
from typing import Any

import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig

from foundation.errors import UserError
from foundation.files import read_json
from foundation.modalities.pixels import PixelSettings
from foundation.modalities.pretrained_files import CONFIG

PREPROCESSOR = "preprocessor_config.json"
# The tower of images alone, where a model has one of texts beside it.
_IMAGE_TOWERS = {"clip": "CLIPVisionModelWithProjection", "siglip": "SiglipVisionModel"}
_RESAMPLING = {2: "bilinear", 3: "bicubic"}  # numbers of PIL's filters
_ADVICE = "name a folder of a transformers image encoder in safetensors, or a repository of one"


class TransformersBackbone(nn.Module):
    """A transformers image encoder.

    Args:
        config: of the model.
        model: with its weights; random ones if None.

    Attributes:
        num_features: of its tokens.
        num_prefix_tokens: that are no places: of the class, and registers.
    """

    def __init__(self, config: PretrainedConfig, model: Any = None) -> None:
        super().__init__()
        kind = _kind(config)
        config = getattr(config, "vision_config", config) if kind is not AutoModel else config
        self.model = (kind.from_config(config) if kind is AutoModel else kind(config)) if model is None else model
        sizes = getattr(self.model.config, "hidden_sizes", None)
        self.num_features: int = sizes[-1] if sizes else self.model.config.hidden_size
        names = {name.rpartition(".")[2] for name, _ in self.model.named_parameters()}
        self._of_class = bool(names & {"cls_token", "class_embedding"})
        registers = getattr(self.model.config, "num_register_tokens", 0) if "register_tokens" in names else 0
        self.num_prefix_tokens = int(self._of_class) + registers

    @classmethod
    def from_pretrained(cls, name: str, setting: str) -> "TransformersBackbone":
        """A local folder's, or a repository's of the hub.

        Raises:
            UserError: if there is no such model in safetensors, or its code would have to be trusted.
        """
        try:
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            model, report = _kind(config).from_pretrained(
                name, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            line = str(error).strip().splitlines()[0]
            raise UserError(f"{setting}.backbone: {name} cannot be loaded ({line}); {_ADVICE}") from error
        missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)  # which is not read
        missing += sorted(str(key[0]) for key in report["mismatched_keys"])
        if missing:
            raise UserError(f"{setting}.backbone: {name}: its file lacks weights, the first {missing[0]}; {_ADVICE}")
        return cls(config, model)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Tokens `[images, prefix and places, dim]`, or maps `[images, dim, height, width]`."""
        seen: Tensor = self.model(pixel_values=pixels).last_hidden_state
        return seen

    def forward(self, pixels: Tensor) -> Tensor:
        """As authors of such models take features `[images, dim]`: the class token, else the mean over places.

        Of a model that was trained beside one of texts, the embedding that is compared with theirs.
        """
        return self.seen_and_pooled(pixels)[1]

    def seen_and_pooled(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`forward_features` and `forward`, of one pass."""
        answer = self.model(pixel_values=pixels)
        return answer.last_hidden_state, self._pooled(answer)

    def _pooled(self, answer: Any) -> Tensor:
        embeds: Tensor | None = getattr(answer, "image_embeds", None)
        if embeds is not None:
            return embeds
        seen: Tensor = answer.last_hidden_state
        if seen.ndim == 4:
            return seen.mean(dim=(2, 3))
        if self._of_class:
            return seen[:, 0]
        pooled: Tensor | None = getattr(answer, "pooler_output", None)
        return seen[:, self.num_prefix_tokens :].mean(dim=1) if pooled is None else pooled


def read_pixels(name: str, setting: str) -> PixelSettings:
    """What `preprocessor_config.json` of a local folder or a repository says of the model's pixels.

    Raises:
        UserError: if there is none, or it does not say them.
    """
    path = Path(name) / PREPROCESSOR
    if not Path(name).is_dir():
        try:
            path = Path(transformers.utils.cached_file(name, PREPROCESSOR))
        except OSError as error:
            raise UserError(f"{setting}.backbone: {name}/{PREPROCESSOR} cannot be fetched; {_ADVICE}") from error
    advice = f"copy it from where the weights come from, or set {setting}.mean, std, size and interpolation"
    content = read_json(path, advice, "image_mean", "image_std")
    size = content.get("crop_size") if content.get("do_center_crop", True) else None
    size = size or content.get("size")
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge"))
    resampling = _RESAMPLING.get(content.get("resample", 3))
    if not isinstance(size, int) or resampling is None:
        raise UserError(f"{path}: says no size, or a resampling that is not read here; {advice}")
    return PixelSettings(size, tuple(content["image_mean"]), tuple(content["image_std"]), resampling)


def is_transformers(name: str) -> bool:
    """Whether a name is of a transformers model: a folder whose `config.json` says so, or a plain repository."""
    path = Path(name) / CONFIG
    if path.is_file():
        return "model_type" in read_json(path, "copy the folder again")
    return "/" in name and not name.startswith("hf-hub:") and not Path(name).is_dir()


def _kind(config: PretrainedConfig) -> Any:
    """The class that reads images alone."""
    tower = _IMAGE_TOWERS.get(config.model_type.removesuffix("_vision_model"))
    return AutoModel if tower is None else getattr(transformers, tower)
