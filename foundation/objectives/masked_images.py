"""Masked image modelling: hidden squares of an image painted from those left visible."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.gradient_cache import without_statistics
from foundation.modalities.images import ImageSet
from foundation.objectives.base import Objective, Term
from foundation.output import EncoderOutput


class MaskedImages(Objective):
    """Absolute error on the pixels of hidden squares (SimMIM, Xie et al. 2022).

    Each square is standardised (as in MAE, He et al. 2022). Works with any timm backbone that has a feature map or
    patch tokens. The images pass a second time, with squares blanked; running statistics do not see them.

    Args:
        width: of the tokens.
        source: modality whose images are masked.
        mask_ratio: share of squares hidden.
        square: side in pixels: the size of the images divided by the places in a row that the backbone sees, which is
            the patch of a vision transformer and the last stride of a convolutional network.
    """

    def __init__(self, width: int, source: str = "pathology", mask_ratio: float = 0.5, square: int = 32) -> None:
        super().__init__()
        self.source = source
        self.mask_ratio = mask_ratio
        self.square = square
        self.paint = nn.Linear(width, 3 * square * square)

    @property
    def modalities(self) -> tuple[str, ...]:
        return (self.source,)

    def select(self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch) -> dict[str, Tensor] | None:
        return batch.inputs.get(self.source)

    def loss(
        self, encoder: MultimodalEncoder, output: EncoderOutput, batch: Batch, selected: dict[str, Tensor]
    ) -> Term:
        module: Any = encoder.modalities[self.source]
        assert isinstance(module, ImageSet)
        count = len(selected["mask"])
        return Term(self._error(module, selected), {self.source: count}, int(selected["mask"].sum()))

    def _error(self, module: ImageSet, inputs: dict[str, Tensor]) -> Tensor:
        side = module.size // self.square
        images = module.pixels(inputs)
        hidden = torch.rand(len(images), side, side, device=images.device) < self.mask_ratio
        hidden[:, 0, 0] |= ~hidden.flatten(1).any(dim=1)
        blank = hidden.repeat_interleave(self.square, 1).repeat_interleave(self.square, 2)
        rest = module.size - side * self.square
        with without_statistics(module):
            placed = module.positions(images.masked_fill(functional.pad(blank, (0, rest, 0, rest))[:, None], 0.0))
        places = placed.shape[1]
        if places * self.square != module.size:
            raise UserError(
                f"objective masked images: square {self.square}, but {module.backbone_name} sees {places} places in "
                f"{module.size} pixels; set square to {module.size / places:g}"
            )
        target = functional.pixel_unshuffle(images, self.square).permute(0, 2, 3, 1)[hidden].float()
        target = (target - target.mean(dim=-1, keepdim=True)) / (target.std(dim=-1, keepdim=True) + 1e-2)
        return functional.l1_loss(self.paint(placed)[hidden].float(), target)
