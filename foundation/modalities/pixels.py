"""The pixels of a backbone: part of its weights, applied by one code wherever it sees images."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class PixelSettings:
    """What a backbone's pixels are: part of its weights, and saved beside them.

    Attributes:
        size: side of its images.
        mean: by channel, of pixels in 0 to 1.
        std: likewise.
        interpolation: by which images are brought to the size, `bilinear` or `bicubic`.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    def resized(self, rows: list[NDArray[np.uint8]]) -> UInt8[Tensor, "images size size 3"]:
        """Images of unlike sizes, `[height, width, 3]` each; those of one size go together, which is faster."""
        if any(row.shape != rows[0].shape for row in rows):
            return torch.cat([self.resized([row]) for row in rows])
        images = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)
        if images.shape[-2:] != (self.size, self.size):
            mode = self.interpolation
            images = functional.interpolate(images, size=(self.size, self.size), mode=mode, antialias=True)
        return images.permute(0, 2, 3, 1)

    def normalised(self, images: Float[Tensor, "images 3 size size"]) -> Float[Tensor, "images 3 size size"]:
        """Pixels in 0 to 1 as the backbone's weights want them."""
        mean, std = (images.new_tensor(each)[:, None, None] for each in (self.mean, self.std))
        return (images - mean).div_(std)
