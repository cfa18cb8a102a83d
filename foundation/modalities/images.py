"""What pathology and radiology share: a timm vision encoder over a patient's set of images."""

from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foundation.data.sampler import draw_images
from foundation.errors import UserError
from foundation.modalities.base import Inputs, Modality, Tokens, Views


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
        """Images of one patient, `[images, height, width, 3]` uint8, as `[kept, size, size, 3]` uint8.

        They stay bytes until `forward`: resizing bytes takes a tenth of the time that it takes on floats, and they
        reach the device in a quarter of the memory. Channels stay last: that is how images are stored and how
        convolutions like them best.
        """
        kept = draw_images(len(raw), self.max_images, generator)
        images = torch.from_numpy(np.ascontiguousarray(raw[kept])).permute(0, 3, 1, 2)
        if images.shape[-2:] != (self.size, self.size):
            images = functional.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        images = images.permute(0, 2, 3, 1)
        mask = torch.ones(len(kept), dtype=torch.bool)
        if generator is None:
            return {"images": images, "mask": mask}
        return {"images": _turn(images, generator), "colour": self._colour(len(kept), generator), "mask": mask}

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

    def forward(self, inputs: Inputs) -> Tokens:
        mask = inputs["mask"]
        # Only real images pass through the backbone; padding takes its place afterwards.
        images = inputs["images"][mask].permute(0, 3, 1, 2).float() / 255
        images = self.recolour(images, {name: inputs[name][mask] for name in inputs})
        images = 2 * images - 1
        features = self.to_width(self.backbone(images.to(next(self.to_width.parameters()).dtype)))
        values = features.new_zeros(*mask.shape, self.width)
        values[mask] = features
        return Tokens(values, mask)

    def views(self, inputs: Inputs, tokens: Tokens) -> Views:
        """Two halves of a patient's images: no image is in both."""
        values, mask = tokens
        count = mask.sum(dim=1, keepdim=True)
        rank = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, 2).argsort(dim=1).argsort(dim=1)
        half = rank < (count + 1) // 2
        who = count[:, 0] > 1
        return Views(Tokens(values[who], (mask & half)[who]), Tokens(values[who], (mask & ~half)[who]), who)


def _turn(images: Tensor, generator: torch.Generator) -> Tensor:
    """One of the square's eight symmetries for all images of a patient, `[images, size, size, 3]`."""
    down, across, swap = torch.randint(2, (3,), generator=generator).tolist()
    images = images.flip([axis for axis, drawn in ((1, down), (2, across)) if drawn])
    return images.transpose(1, 2) if swap else images
