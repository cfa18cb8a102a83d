"""Stain augmentation: haematoxylin, eosin and residual vary from laboratory to laboratory."""

import torch
from torch import Tensor

# Optical density of haematoxylin, eosin and DAB in red, green and blue (Ruifrok and Johnston 2001).
_HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_DARKEST = 1 / 255  # the optical density of black is infinite; that of the darkest grey is not


def jitter_stain(images: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Scales and shifts each stain of each image (Tellez et al. 2018, HED-light at 0.05, HED-strong at 0.2).

    Colours become amounts of stain by the Beer-Lambert law (density to base 10); each amount s becomes a s + b with a
    drawn evenly from 1 - strength to 1 + strength and b from -strength to strength; then they become colours again.

    Args:
        images: `[images, 3, height, width]`, RGB in 0 to 1.
        strength: 0 leaves every image as it is, up to rounding.
        generator: of the draws; two numbers a stain and image.

    Returns:
        `[images, 3, height, width]` in 0 to 1.
    """
    hed = torch.tensor(_HED, dtype=images.dtype, device=images.device)
    hed = hed / hed.norm(dim=1, keepdim=True)
    noise = 2 * torch.rand(2, len(images), 3, 1, 1, generator=generator, dtype=images.dtype) - 1
    gain, shift = (strength * noise).to(images.device)
    density = -torch.log10(images.clamp_min(_DARKEST))
    stains = torch.einsum("nchw,cs->nshw", density, torch.linalg.inv(hed))
    density = torch.einsum("nshw,sc->nchw", stains * (1 + gain) + shift, hed)
    return torch.pow(10, -density).clamp(0, 1)
