"""The base of pathology and radiology: a timm vision encoder over a patient's set of images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.compiler import is_exporting

from foundation.data.dictionary import DataDictionary
from foundation.data.sampler import draw_images
from foundation.data.storage import StoredImages
from foundation.errors import UserError
from foundation.masks import laid_out, never_none, real, to_device
from foundation.modalities.backbones import BackboneSource, create_backbone
from foundation.modalities.base import Examined, Inputs, Modality, Tokens, Views, halves
from foundation.modalities.feature_layers import (
    Look,
    check_layers,
    layer_features,
    mean_over_flips,
    moments,
    of_patients,
    seen_and_pooled,
)
from foundation.modalities.image_request import ImagesForm, RequestImages
from foundation.modalities.tuning import keep_no_activations, set_tuning

Images = NDArray[np.uint8] | list[NDArray[np.uint8]] | StoredImages | RequestImages
_LAZY = (StoredImages, RequestImages)
_AT_ONCE = 64  # images that pass through the backbone together where a patient is predicted for


class ImageSet(Modality):
    """A token an image, for a patient's tiles or slices.

    Args:
        width: of the tokens.
        backbone: a timm model name, `hf-hub:` and a repository, or a folder with timm's `config.json` and weights.
        size: side in pixels to which images are resized; the backbone's own if None.
        max_images: at most so many a patient; drawn at random in training, spread evenly otherwise.
        max_images_inference: the same where a patient is predicted for: evaluation and serving look at more.
        colour_jitter: largest relative gain of a channel, and shift, in training: stain and scanner differ by hospital.
        drop_rate: of the backbone's features.
        weights: of the backbone at the start: random if null, a local `.safetensors` file (with timm's `config.json`
            beside it, if it has one), or `hub` for those that timm publishes (reaches the hub unless cached).
        tune: of the backbone: `full`, `frozen`, or `lora` adapters.
        lora_rank: of the adapters.
        pooling: of the images to the embedding, `gated` or `transformer`.
        patch_dropout: share of patches left out in training; vision transformers only.
        checkpoint_activations: compute the backbone's activations again in the backward pass instead of keeping them.
        model_args: options of the timm model, such as `init_values` or `reg_tokens`.
        mean: of each channel, of pixels in 0 to 1; what the backbone's weights were made with if None.
        std: likewise.
        interpolation: likewise, by which images are resized: `bilinear` or `bicubic`.
        feature_layers: modules of the backbone whose outputs are `features`, a block each, such as `blocks.4.1.bn1`, or
            `blocks.3.3+blocks.4.2`, both in one block; its last features if empty.
        feature_flips: whether `features` are the mean over an image and its three mirror images, for images that have
            no up: a network trained on photographs sees each of them otherwise.
    """

    parts = "images"
    several = True

    def __init__(
        self,
        width: int,
        backbone: str = "resnet10t",
        size: int | None = None,
        max_images: int = 4,
        max_images_inference: int = 256,
        colour_jitter: float = 0.2,
        drop_rate: float = 0.0,
        weights: str | None = None,
        tune: str = "full",
        lora_rank: int = 8,
        pooling: str = "gated",
        patch_dropout: float = 0.0,
        checkpoint_activations: bool = False,
        model_args: Mapping[str, Any] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: str | None = None,
        feature_layers: Sequence[str] = (),
        feature_flips: bool = False,
    ) -> None:
        super().__init__(width, pooling)
        self.max_images = max_images
        self.max_images_inference = max_images_inference
        self.colour_jitter = colour_jitter
        self.drop_rate = drop_rate
        self.tune = tune
        self.lora_rank = lora_rank
        self.patch_dropout = patch_dropout
        setting = f"modality.{self.name}"
        source = BackboneSource.resolve(backbone, weights, model_args or {}, setting)
        self.pixel_settings = source.pixel_settings(setting, size, mean, std, interpolation)
        self.size = self.pixel_settings.size
        self.backbone_name, self.model_args = source.name, source.options
        self.backbone = create_backbone(source, self.size, patch_dropout, setting)
        if checkpoint_activations:
            keep_no_activations(self.backbone, setting)
        set_tuning(self.backbone, tune, lora_rank, setting)
        self.feature_layers = list(feature_layers)
        check_layers(self.backbone, self.feature_layers, setting)
        self.feature_flips = feature_flips
        self._layer_sizes: dict[str, int] = {}
        self.to_width = nn.Sequential(nn.Dropout(drop_rate), nn.Linear(self.backbone.num_features, width))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {
            "backbone": self.backbone_name,
            **asdict(self.pixel_settings),
            "model_args": self.model_args,
            "max_images": self.max_images,
            "max_images_inference": self.max_images_inference,
            "colour_jitter": self.colour_jitter,
            "drop_rate": self.drop_rate,
            "tune": self.tune,
            "lora_rank": self.lora_rank,
            "patch_dropout": self.patch_dropout,
            "feature_layers": self.feature_layers,
            "feature_flips": self.feature_flips,
        }

    @classmethod
    def load(cls, settings: dict[str, Any], folder: Path) -> "Modality":
        """See `Modality`.

        Raises:
            UserError: if the folder does not say what the backbone's pixels are.
        """
        if "mean" not in settings:
            finding = f"an earlier release wrote it, and does not say mean and std of {cls.name}"
            raise UserError(f"{folder / 'config.json'}: {finding}; pretrain again with this release")
        return super().load(settings, folder)

    def request_form(self, dictionary: DataDictionary) -> ImagesForm:
        return ImagesForm(size=self.size)

    def train(self, mode: bool = True) -> "ImageSet":
        """A frozen backbone stays in evaluation mode: no dropout, no moving statistics."""
        super().train(mode)
        if self.tune == "frozen":
            self.backbone.eval()
        return self

    def transform(self, raw: Images, generator: torch.Generator | None) -> Inputs:
        """Images of one patient, each `[height, width, 3]` uint8 of whatever size, as `[kept, size, size, 3]` uint8.

        They stay bytes until `forward`: resizing bytes takes a tenth of the time that it takes on floats, and they
        reach the device in a quarter of the memory. Channels stay last: that is how images are stored and how
        convolutions like them best.
        """
        return self.drawn(raw, generator)[0]

    def drawn(self, raw: Images, generator: torch.Generator | None) -> tuple[Inputs, NDArray[np.int64]]:
        """See `transform`; and which images were taken."""
        most = self.bound(self.max_images, self.max_images_inference, generator)
        kept = draw_images(len(raw), most, generator)
        images = self.pixel_settings.resized(
            raw.rows(kept) if isinstance(raw, _LAZY) else [raw[index] for index in kept]
        )
        mask = torch.ones(len(kept), dtype=torch.bool)
        if generator is None:
            return {"images": images, "mask": mask}, kept
        turned, colour = _turn(images, generator), self._colour(len(kept), generator)
        return {"images": turned, "colour": colour, "mask": mask}, kept

    def examined(self, raw: Images, inputs: Inputs) -> Examined:
        return super().examined(raw, inputs)._replace(of=len(raw))

    def blank(self) -> NDArray[np.uint8]:
        return np.zeros((1, self.size, self.size, 3), dtype=np.uint8)

    def _colour(self, count: int, generator: torch.Generator) -> Tensor:
        """One gain and one shift a channel for all images of a patient, `[count, 2, 3]`."""
        gain, shift = self.colour_jitter * (2 * torch.rand(2, 3, generator=generator) - 1)
        return torch.stack([1 + gain, shift]).expand(count, 2, 3)

    def recolour(self, images: Tensor, drawn: Inputs) -> Tensor:
        """The colours that `transform` drew, given to the images, `[images, 3, size, size]` in 0 to 1."""
        if "colour" not in drawn:
            return images
        gain, shift = drawn["colour"][..., None, None].unbind(1)
        return (images - 0.5) * gain + 0.5 + shift / 2

    def pixels(self, inputs: Inputs) -> Tensor:
        """The real images of all patients as the backbone's weights want them, `[images, 3, size, size]`."""
        mask = inputs["mask"]
        # In one order from here on: convolutions would copy images that are only seen in another at every layer.
        images = real(inputs["images"], mask).permute(0, 3, 1, 2).contiguous().float() / 255
        drawn = {name: real(inputs[name], mask) for name in inputs if name not in ("images", "mask")}
        images = self.recolour(images, drawn)
        return self.pixel_settings.normalised(images).to(next(self.to_width.parameters()).dtype)

    def positions(self, pixels: Tensor) -> Tensor:
        """Tokens of each place of an image, before pooling: `[images, height, width, width of the tokens]`.

        Raises:
            UserError: if the backbone keeps no places.
        """
        seen = self._placed(self.backbone.forward_features(pixels))
        if seen.ndim != 4:
            raise self._no_places("paint from; remove the masked images, or patch_dropout")
        placed: Tensor = self.to_width(seen)
        return placed

    def _placed(self, seen: Tensor) -> Tensor:
        """What the backbone has seen as `[images, height, width, dim]`, or `[images, places, dim]` if no square."""
        if seen.ndim == 4 and seen.shape[1] == self.backbone.num_features:
            seen = seen.permute(0, 2, 3, 1)
        elif seen.ndim == 3:
            seen = seen[:, getattr(self.backbone, "num_prefix_tokens", 0) :]
            side = math.isqrt(seen.shape[1])
            if side * side == seen.shape[1]:
                seen = seen.unflatten(1, (side, side))
        if seen.ndim < 3 or seen.shape[-1] != self.backbone.num_features:
            raise self._no_places("paint from or to take features of; choose another backbone")
        return seen

    def _no_places(self, why: str) -> UserError:
        return UserError(f"modality.{self.name}.backbone: {self.backbone_name} keeps no square of places to {why}")

    def forward(self, inputs: Inputs) -> Tokens:
        mask = inputs["mask"]
        # Only real images pass through the backbone; padding takes its place afterwards.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tune != "frozen"):
            seen = torch.cat([never_none(self.backbone, self.pixels(part)) for part in self._in_parts(inputs)])
        return Tokens(laid_out(self.to_width(seen), mask), mask)

    def tokens_and_features(self, inputs: Inputs) -> tuple[Tokens, dict[str, Float[Tensor, "present size"]]]:
        mask = inputs["mask"]
        looks = [self._look(self.pixels(part)) for part in self._in_parts(inputs)]
        pooled = torch.cat([one for one, _ in looks])
        return Tokens(laid_out(self.to_width(pooled), mask), mask), of_patients([blocks for _, blocks in looks], mask)

    def _in_parts(self, inputs: Inputs) -> list[Inputs]:
        """The real images some at a time, where nothing is kept of those that are done; else all inputs as they are.

        A patient who is predicted for may have hundreds of images: as floats, and inside the backbone, they would need
        gigabytes.
        """
        if torch.is_grad_enabled() or self.training or is_exporting():
            return [inputs]
        flat = {name: real(value, inputs["mask"]) for name, value in inputs.items() if name != "mask"}
        count, device = len(flat["images"]), inputs["images"].device
        parts = []
        for start in range(0, count, _AT_ONCE):
            mask = to_device(torch.ones(1, min(_AT_ONCE, count - start), dtype=torch.bool), device)
            parts.append({name: value[start : start + _AT_ONCE][None] for name, value in flat.items()} | {"mask": mask})
        return parts

    def feature_sizes(self) -> dict[str, int]:
        if not self.feature_layers:
            return {self.name: 2 * self.backbone.num_features}
        if not self._layer_sizes:  # of a pass, and asked for with every answer
            like = next(self.to_width.parameters())
            blank = torch.zeros(1, 3, self.size, self.size, dtype=like.dtype, device=like.device)
            with torch.no_grad():
                _, layers = layer_features(self.backbone, blank, self.feature_layers)
            self._layer_sizes = {f"{self.name}.{name}": values.shape[1] for name, values in layers.items()}
        return self._layer_sizes

    def features(self, inputs: Inputs) -> dict[str, Float[Tensor, "present size"]]:
        """The backbone's features, their mean and their spread over the places of an image; the mean over images."""
        looks = [never_none(self._look, self.pixels(part)) for part in self._in_parts(inputs)]
        return of_patients([blocks for _, blocks in looks], inputs["mask"])

    def _look(self, pixels: Tensor) -> Look:
        return mean_over_flips(pixels, self._look_once) if self.feature_flips else self._look_once(pixels)

    def _look_once(self, pixels: Tensor) -> Look:
        if not self.feature_layers:
            seen, pooled = seen_and_pooled(self.backbone, pixels)
            return pooled, {self.name: moments(self._placed(seen).flatten(1, -2))}
        pooled, layers = layer_features(self.backbone, pixels, self.feature_layers)
        return pooled, {f"{self.name}.{name}": values for name, values in layers.items()}

    def views(self, inputs: Inputs, tokens: Tokens) -> Views:
        """Two halves of a patient's images: no image is in both."""
        return halves(tokens)


def _turn(images: Tensor, generator: torch.Generator) -> Tensor:
    """One of the square's eight symmetries for all images of a patient, `[images, size, size, 3]`."""
    down, across, swap = torch.randint(2, (3,), generator=generator).tolist()
    images = images.flip([axis for axis, drawn in ((1, down), (2, across)) if drawn])
    return images.transpose(1, 2) if swap else images
