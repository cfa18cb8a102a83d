"""Stain augmentation: haematoxylin, eosin and residual vary from laboratory to laboratory."""

import torch
from torch import Tensor

# Optical density of haematoxylin, eosin and DAB in red, green and blue (Ruifrok and Johnston 2001).
_HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_DARKEST = 1 / 255  # the optical density of black is infinite; that of the darkest grey is not


def draw_stain(count: int, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """A gain and a shift a stain, `[count, 2, 3]` (Tellez et al. 2018: HED-light at 0.05, HED-strong at 0.2).

    Gains are drawn evenly from 1 - strength to 1 + strength, shifts from -strength to strength.
    """
    drawn = strength * (2 * torch.rand(count, 2, 3, generator=generator) - 1)
    return drawn + torch.tensor([1.0, 0.0])[:, None]


def restain(images: Tensor, stain: Tensor) -> Tensor:
    """Other amounts of stain on the same tissue.

    Colours become amounts of stain by the Beer-Lambert law (density to base 10); each amount s becomes s gain + shift;
    then they become colours again.

    Args:
        images: `[images, 3, height, width]`, RGB in 0 to 1.
        stain: `[images, 2, 3]`, gain and shift of each stain; gain 1 and shift 0 leave an image as it is, up to
            rounding.

    Returns:
        `[images, 3, height, width]` in 0 to 1.
    """
    hed = torch.tensor(_HED, dtype=images.dtype, device=images.device)
    hed = hed / hed.norm(dim=1, keepdim=True)
    gain, shift = stain[..., None, None].to(images.dtype).unbind(1)
    density = -torch.log10(images.clamp_min(_DARKEST))
    stains = torch.einsum("nchw,cs->nshw", density, torch.linalg.inv(hed))
    density = torch.einsum("nshw,sc->nchw", stains * gain + shift, hed)
    return torch.pow(10, -density).clamp(0, 1)
