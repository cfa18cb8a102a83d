"""The base of pathology and radiology: a timm vision encoder over a patient's set of images."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foundation.data.dictionary import DataDictionary
from foundation.data.sampler import draw_images
from foundation.data.storage import StoredImages
from foundation.errors import UserError
from foundation.masks import laid_out, real
from foundation.modalities.backbones import create_backbone
from foundation.modalities.base import Inputs, Modality, Tokens, Views, halves
from foundation.modalities.image_request import ImagesForm
from foundation.modalities.tuning import keep_no_activations, set_tuning

Images = NDArray[np.uint8] | list[NDArray[np.uint8]] | StoredImages


class ImageSet(Modality):
    """A token an image, for a patient's tiles or slices.

    Args:
        width: of the tokens.
        backbone: a timm model name.
        size: side in pixels to which images are resized.
        max_images: at most so many a patient; drawn at random in training, spread evenly otherwise.
        colour_jitter: largest relative gain of a channel, and shift, in training: stain and scanner differ by hospital.
        drop_rate: of the backbone's features.
        weights: of the backbone at the start: random if null, a local `.safetensors` file, or `hub` for those that timm
            publishes (reaches the hub unless cached).
        tune: of the backbone: `full`, `frozen`, or `lora` adapters.
        lora_rank: of the adapters.
        pooling: of the images to the embedding, `gated` or `transformer`.
        patch_dropout: share of patches left out in training; vision transformers only.
        checkpoint_activations: compute the backbone's activations again in the backward pass instead of keeping them.
    """

    def __init__(
        self,
        width: int,
        backbone: str = "resnet10t",
        size: int = 64,
        max_images: int = 4,
        colour_jitter: float = 0.2,
        drop_rate: float = 0.0,
        weights: str | None = None,
        tune: str = "full",
        lora_rank: int = 8,
        pooling: str = "gated",
        patch_dropout: float = 0.0,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__(width, pooling)
        self.backbone_name = backbone
        self.size = size
        self.max_images = max_images
        self.colour_jitter = colour_jitter
        self.drop_rate = drop_rate
        self.tune = tune
        self.lora_rank = lora_rank
        self.patch_dropout = patch_dropout
        setting = f"modality.{self.name}"
        self.backbone = create_backbone(backbone, size, patch_dropout, weights, setting)
        if checkpoint_activations:
            keep_no_activations(self.backbone, setting)
        set_tuning(self.backbone, tune, lora_rank, setting)
        self.to_width = nn.Sequential(nn.Dropout(drop_rate), nn.Linear(self.backbone.num_features, width))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {
            "backbone": self.backbone_name,
            "size": self.size,
            "max_images": self.max_images,
            "colour_jitter": self.colour_jitter,
            "drop_rate": self.drop_rate,
            "tune": self.tune,
            "lora_rank": self.lora_rank,
            "patch_dropout": self.patch_dropout,
        }

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
        kept = draw_images(len(raw), self.max_images, generator)
        images = self._resized(raw.rows(kept) if isinstance(raw, StoredImages) else [raw[index] for index in kept])
        mask = torch.ones(len(kept), dtype=torch.bool)
        if generator is None:
            return {"images": images, "mask": mask}
        return {"images": _turn(images, generator), "colour": self._colour(len(kept), generator), "mask": mask}

    def _resized(self, rows: list[NDArray[np.uint8]]) -> Tensor:
        """Images of unlike sizes as `[images, size, size, 3]` uint8; those of one size go together, which is faster."""
        if any(row.shape != rows[0].shape for row in rows):
            return torch.cat([self._resized([row]) for row in rows])
        images = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)
        if images.shape[-2:] != (self.size, self.size):
            images = functional.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        return images.permute(0, 2, 3, 1)

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
        """The real images of all patients as the backbone takes them, `[images, 3, size, size]` in -1 to 1."""
        mask = inputs["mask"]
        images = real(inputs["images"], mask).permute(0, 3, 1, 2).float() / 255
        drawn = {name: real(inputs[name], mask) for name in inputs if name not in ("images", "mask")}
        images = self.recolour(images, drawn)
        return (2 * images - 1).to(next(self.to_width.parameters()).dtype)

    def positions(self, pixels: Tensor) -> Tensor:
        """What the backbone sees at each place of an image, before pooling: `[images, height, width, dim]`.

        Raises:
            UserError: if the backbone keeps no places.
        """
        seen = self.backbone.forward_features(pixels)
        if seen.ndim == 4 and seen.shape[1] == self.backbone.num_features:
            seen = seen.permute(0, 2, 3, 1)
        elif seen.ndim == 3:
            seen = seen[:, getattr(self.backbone, "num_prefix_tokens", 0) :]
            side = math.isqrt(seen.shape[1])
            if side * side == seen.shape[1]:
                seen = seen.unflatten(1, (side, side))
        if seen.ndim != 4 or seen.shape[-1] != self.backbone.num_features:
            raise UserError(
                f"modality.{self.name}.backbone: {self.backbone_name} keeps no square of places to paint from; "
                "remove the masked images, or patch_dropout"
            )
        placed: Tensor = self.to_width(seen)
        return placed

    def forward(self, inputs: Inputs) -> Tokens:
        mask = inputs["mask"]
        # Only real images pass through the backbone; padding takes its place afterwards.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tune != "frozen"):
            seen = self.backbone(self.pixels(inputs))
        return Tokens(laid_out(self.to_width(seen), mask), mask)

    def views(self, inputs: Inputs, tokens: Tokens) -> Views:
        """Two halves of a patient's images: no image is in both."""
        return halves(tokens)


def _turn(images: Tensor, generator: torch.Generator) -> Tensor:
    """One of the square's eight symmetries for all images of a patient, `[images, size, size, 3]`."""
    down, across, swap = torch.randint(2, (3,), generator=generator).tolist()
    images = images.flip([axis for axis, drawn in ((1, down), (2, across)) if drawn])
    return images.transpose(1, 2) if swap else images
