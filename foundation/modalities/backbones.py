"""timm backbones: random, from a local file, or from the hub, each with the pixels that it was made for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from timm import layers
from timm.models import get_pretrained_cfg, load_model_config_from_hf
from timm.models._pretrained import PretrainedCfg
from torch import nn

from foundation.errors import UserError
from foundation.modalities.pixels import PixelSettings
from foundation.modalities.pretrained_files import WEIGHTS, load_local, read_architecture, read_model_config

_HUB = "hf-hub:"
_INTERPOLATIONS = ("bilinear", "bicubic")
_NAMED_BY_TIMM = ("act_layer", "norm_layer")  # it looks up `rmsnorm` and the like itself


@dataclass(frozen=True)
class BackboneSource:
    """A model of timm, as it is named once nothing has to be looked up any more.

    Attributes:
        name: of the model.
        options: its own arguments.
        config: what its weights were made with.
        weights: see `ImageSet`.
    """

    name: str
    options: dict[str, Any]
    config: PretrainedCfg
    weights: str | None

    @classmethod
    def resolve(cls, name: str, weights: str | None, options: Mapping[str, Any], setting: str) -> "BackboneSource":
        """The model that is meant, from timm's list, from the hub, or from the `config.json` beside local weights.

        Args:
            name: of a timm model, `hf-hub:` and a repository, or a folder with timm's `config.json` and
                `model.safetensors`.
            weights: see `ImageSet`.
            options: that override those found there.
            setting: its name in the config, for errors.

        Raises:
            UserError: if timm has no such model, or the file beside the weights is of another one.
        """
        if not timm.is_model(name) and Path(name).is_dir():
            name, weights = read_architecture(Path(name), setting), weights or str(Path(name) / WEIGHTS)
        if name.startswith(_HUB):
            try:
                content, name, more = load_model_config_from_hf(name.removeprefix(_HUB))
            except OSError as error:
                advice = "name a timm model, and its .safetensors file as weights"
                raise UserError(f"{setting}.backbone: {name} cannot be fetched ({error}); {advice}") from error
            return cls(name, {**more, **options}, PretrainedCfg(**content), weights)
        config = get_pretrained_cfg(name) if timm.is_model(name) else None
        if config is None:
            raise UserError(f"{setting}.backbone: no model {name!r}; timm.list_models() names what there is")
        if weights in (None, "hub"):
            return cls(name, dict(options), config, weights)
        content, more = read_model_config(Path(str(weights)), name, setting)
        return cls(name, {**more, **options}, PretrainedCfg(**{**config.to_dict(), **content}), weights)

    def pixel_settings(
        self,
        setting: str,
        size: int | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        interpolation: str | None,
    ) -> PixelSettings:
        """As the weights want them, where nothing else is set.

        Raises:
            UserError: naming the one that cannot be.
        """
        pixels = PixelSettings(
            size=self.config.input_size[-1] if size is None else size,
            mean=_channels(self.config.mean if mean is None else mean, f"{setting}.mean"),
            std=_channels(self.config.std if std is None else std, f"{setting}.std"),
            interpolation=self.config.interpolation if interpolation is None else interpolation,
        )
        if min(pixels.std) <= 0:
            raise UserError(f"{setting}.std: found {list(pixels.std)}; give numbers above 0")
        if pixels.interpolation not in _INTERPOLATIONS:
            choice = " or ".join(_INTERPOLATIONS)
            raise UserError(f"{setting}.interpolation: found {pixels.interpolation!r}; set it to {choice}")
        return pixels


def create_backbone(source: BackboneSource, size: int, patch_dropout: float, setting: str) -> Any:
    """A timm model without its classifier.

    Weights are loaded at the size that they were made for; where the model can, it is then brought to another one.

    Args:
        source: which model.
        size: side of its images in pixels.
        patch_dropout: share of patches left out in training.
        setting: its name in the config, for errors.

    Raises:
        UserError: if the model takes no such option or size, or the weights are none of it.
    """
    weights = source.weights
    options = {name: _layer(name, value, setting) for name, value in source.options.items()}
    options |= {"num_classes": 0, "pretrained": weights == "hub", "pretrained_cfg": source.config}
    if patch_dropout:
        options["patch_drop_rate"] = patch_dropout
    fixed = source.config.fixed_input_size
    native = options.setdefault("img_size", source.config.input_size[-1]) if fixed else size
    backbone = _create(source.name, options, setting)
    if native != size and not hasattr(backbone, "set_input_size"):
        backbone = _create(source.name, options | {"img_size": size}, setting)
    if weights not in (None, "hub"):
        load_local(backbone, Path(str(weights)), setting)
    if native != size and hasattr(backbone, "set_input_size"):
        backbone.set_input_size(img_size=(size, size))
    patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", 1)
    patch = patch if isinstance(patch, int) else patch[0]
    if size % patch:
        raise UserError(f"{setting}.size: found {size}; {source.name} takes multiples of its patches' {patch} pixels")
    return backbone


def _create(name: str, options: dict[str, Any], setting: str) -> Any:
    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        advice = "mend model_args; patch_dropout is for vision transformers"
        raise UserError(f"{setting}: {name} takes no such option ({error}); {advice}") from error
    except OSError as error:
        advice = "name a .safetensors file as weights"
        raise UserError(f"{setting}.weights: those of {name} cannot be fetched ({error}); {advice}") from error
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"{setting}: {name} cannot be built so ({error}); mend size or model_args") from error


def _layer(option: str, value: Any, setting: str) -> Any:
    """An option of timm; its classes of layers, such as `mlp_layer: SwiGLUPacked`, are named as in timm or torch."""
    if not option.endswith("_layer") or not isinstance(value, str):
        return value
    layer = getattr(layers, value, None) or getattr(nn, value, None)
    kind = getattr(layer, "func", layer)  # timm has some with options of their own, as functools.partial
    if isinstance(kind, type) and issubclass(kind, nn.Module):
        return layer
    if option in _NAMED_BY_TIMM:
        return value
    raise UserError(f"{setting}.model_args.{option}: no layer {value!r} in timm.layers or torch.nn")


def _channels(values: Sequence[float], field: str) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise UserError(f"{field}: found {list(values)}; give three numbers, of pixels in 0 to 1")
    return numbers
