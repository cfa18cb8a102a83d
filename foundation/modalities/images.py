"""What pathology and radiology share: a timm vision encoder over a patient's set of images."""

from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foundation.errors import UserError
from foundation.modalities.base import Inputs, Modality, Tokens


class ImageSet(Modality):
    """A token an image, for a patient's tiles or slices.

    Args:
        width: of the tokens.
        backbone: a timm model name.
        size: side in pixels to which images are resized.
        max_images: at most so many a patient; drawn at random in training, spread evenly otherwise.
        colour_jitter: largest relative gain of a channel, and shift, in training: stain and scanner differ by hospital.
        pretrained: take timm's published weights for the backbone (reaches the hub unless cached).
        drop_rate: of the backbone's features.
    """

    def __init__(
        self,
        width: int,
        backbone: str = "resnet10t",
        size: int = 64,
        max_images: int = 4,
        colour_jitter: float = 0.2,
        pretrained: bool = False,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(width)
        self.backbone_name = backbone
        self.size = size
        self.max_images = max_images
        self.colour_jitter = colour_jitter
        self.drop_rate = drop_rate
        try:
            self.backbone = timm.create_model(backbone, pretrained=pretrained, num_classes=0)
        except RuntimeError as error:
            raise UserError(
                f"modality.{self.name}.backbone: {error}; timm.list_models() names what there is"
            ) from error
        self.to_width = nn.Sequential(nn.Dropout(drop_rate), nn.Linear(self.backbone.num_features, width))

    def settings(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "backbone": self.backbone_name,
            "size": self.size,
            "max_images": self.max_images,
            "colour_jitter": self.colour_jitter,
            "drop_rate": self.drop_rate,
        }

    def transform(self, raw: NDArray[np.uint8], generator: torch.Generator | None) -> Inputs:
        """Images of one patient, `[images, height, width, 3]` uint8, as `[kept, 3, size, size]` in about -1 to 1."""
        count = min(len(raw), self.max_images)
        if generator is None:
            kept = np.linspace(0, len(raw) - 1, count).round().astype(int)
        else:
            kept = torch.randperm(len(raw), generator=generator)[:count].numpy()
        images = torch.from_numpy(np.ascontiguousarray(raw[kept])).permute(0, 3, 1, 2).float() / 127.5 - 1
        if images.shape[-2:] != (self.size, self.size):
            images = functional.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        if generator is not None:
            images = self._augment(images, generator)
        return {"images": images, "mask": torch.ones(count, dtype=torch.bool)}

    def blank(self) -> NDArray[np.uint8]:
        return np.zeros((1, self.size, self.size, 3), dtype=np.uint8)

    def _augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One flip, one quarter turn and one colour change for all images of a patient."""
        turn, flip = torch.randint(4, (2,), generator=generator).tolist()
        images = torch.rot90(images, turn, (2, 3))
        images = images.flip(3) if flip % 2 else images
        gain = 1 + self.colour_jitter * (2 * torch.rand(1, 3, 1, 1, generator=generator) - 1)
        shift = self.colour_jitter * (2 * torch.rand(1, 3, 1, 1, generator=generator) - 1)
        return images * gain + shift

    def forward(self, inputs: Inputs) -> Tokens:
        mask = inputs["mask"]
        # Only real images pass through the backbone; padding takes its place afterwards.
        features = self.to_width(self.backbone(inputs["images"][mask]))
        values = features.new_zeros(*mask.shape, self.width)
        values[mask] = features
        return Tokens(values, mask)
