"""Features of a backbone's inner layers, read off while images pass through."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from foundation.errors import UserError
from foundation.masks import mean_of_real

Look = tuple[Tensor, dict[str, Tensor]]  # what `forward` reads of images, and features of each by block
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
) -> tuple[Tensor, dict[str, Float[Tensor, "images features"]]]:
    """Moments over places of each layer: maps `[images, dim, height, width]`, or tokens `[images, places, dim]`.

    Args:
        backbone: of timm.
        pixels: as it wants them.
        layers: names of its modules; `first+second` for the features of both side by side.

    Returns:
        The backbone's output, and the layers' moments.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[name] = moments(output.flatten(2).transpose(1, 2) if output.ndim == 4 else output)

        return backbone.get_submodule(name).register_forward_hook(hook)

    handles = [keep(name) for name in _modules(layers)]
    try:
        output = backbone(pixels)
    finally:
        for handle in handles:
            handle.remove()
    return output, {layer: torch.cat([outputs[name] for name in _modules([layer])], dim=1) for layer in layers}


def _modules(layers: Sequence[str]) -> list[str]:
    """Those that any layer names, each once."""
    return list(dict.fromkeys(name for layer in layers for name in layer.split("+")))


def mean_over_flips(
    pixels: Float[Tensor, "images 3 size size"], look: Callable[[Tensor], Look]
) -> tuple[Tensor, dict[str, Float[Tensor, "images features"]]]:
    """A look at images as they are, with the mean of its features and those of three mirror images of each."""
    looks = [look(pixels.flip(axes)) for axes in _FLIPS]
    pooled, blocks = looks[0]
    return pooled, {name: torch.stack([features[name] for _, features in looks]).mean(dim=0) for name in blocks}


def seen_and_pooled(backbone: nn.Module, pixels: Float[Tensor, "images 3 size size"]) -> tuple[Tensor, Tensor]:
    """What a backbone's `forward_features` and its `forward` make of images, of one pass.

    Every model of timm goes from the one to the other by its `forward_head`; those of transformers say it themselves.
    """
    if hasattr(backbone, "seen_and_pooled"):
        both: tuple[Tensor, Tensor] = backbone.seen_and_pooled(pixels)  # type: ignore[operator]
        return both
    seen = backbone.forward_features(pixels)  # type: ignore[operator]
    return seen, backbone.forward_head(seen)  # type: ignore[operator]


def of_patients(
    parts: Sequence[dict[str, Tensor]], mask: Bool[Tensor, "patients images"]
) -> dict[str, Float[Tensor, "patients features"]]:
    """Features of images, some at a time, as the mean over each patient's."""
    by_image = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: mean_of_real(values, mask) for name, values in by_image.items()}
