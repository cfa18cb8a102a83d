"""Features of a backbone's inner layers, read off while images pass through."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foundation.errors import UserError

_FLIPS: tuple[list[int], ...] = ([], [-1], [-2], [-2, -1])  # none, across, down, both: half a turn


def moments(seen: Float[Tensor, "images places dim"]) -> Float[Tensor, "images features"]:
    """Mean of each feature over the places of an image, then its spread: `[images, 2 dim]`."""
    return torch.cat([seen.mean(dim=1), seen.std(dim=1, correction=0)], dim=1)


def check_layers(backbone: nn.Module, layers: Sequence[str], setting: str) -> None:
    """Refuses a layer that the backbone has not.

    Args:
        backbone: of timm.
        layers: names of its modules; `first+second` for the features of both side by side.
        setting: name of the modality in the config, for errors.

    Raises:
        UserError: naming the first one, and layers that there are.
    """
    names = [name for name, _ in backbone.named_modules() if name]
    for layer in _modules(layers):
        if layer not in names:
            some = ", ".join([*(name for name in names if name.count(".") < 2)][-6:])
            raise UserError(f"{setting}.feature_layers: the backbone has no layer {layer!r}; such as {some}")


def layer_features(
    backbone: nn.Module, pixels: Float[Tensor, "images 3 size size"], layers: Sequence[str]
) -> dict[str, Float[Tensor, "images features"]]:
    """Moments over places of each layer: maps `[images, dim, height, width]`, or tokens `[images, places, dim]`.

    Args:
        backbone: of timm.
        pixels: as it wants them.
        layers: names of its modules; `first+second` for the features of both side by side.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[name] = moments(output.flatten(2).transpose(1, 2) if output.ndim == 4 else output)

        return backbone.get_submodule(name).register_forward_hook(hook)

    handles = [keep(name) for name in _modules(layers)]
    try:
        backbone(pixels)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: torch.cat([outputs[name] for name in _modules([layer])], dim=1) for layer in layers}


def _modules(layers: Sequence[str]) -> list[str]:
    """Those that any layer names, each once."""
    return list(dict.fromkeys(name for layer in layers for name in layer.split("+")))


def mean_over_flips(
    pixels: Float[Tensor, "images 3 size size"], features: Callable[[Tensor], dict[str, Tensor]]
) -> dict[str, Float[Tensor, "images features"]]:
    """The mean of an image's features and those of its three mirror images."""
    seen = [features(pixels.flip(axes)) for axes in _FLIPS]
    return {name: torch.stack([one[name] for one in seen]).mean(dim=0) for name in seen[0]}
