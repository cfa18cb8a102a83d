"""Stain of haematoxylin and eosin, which varies by laboratory: augmentation, and matching to a reference."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foundation.modalities.pathology.stain_amounts import HED, TISSUE

_DARKEST = 1 / 255  # the optical density of black is infinite; that of the darkest grey is not
_FEW = 16  # pixels of tissue that say nothing of a patient's stain
_MOST = 3.0  # largest gain, and its inverse the smallest: a fold or a pen mark must not be stretched into tissue


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
    hed = _hed().to(images)
    gain, shift = stain[..., None, None].to(images.dtype).unbind(1)
    density = -torch.log10(images.clamp_min(_DARKEST))
    stains = torch.einsum("nchw,cs->nshw", density, torch.linalg.inv(hed))
    density = torch.einsum("nshw,sc->nchw", stains * gain + shift, hed)
    return torch.pow(10, -density).clamp(0, 1)


def match_stain(images: Tensor, mean: Sequence[float], spread: Sequence[float]) -> Tensor:
    """What gives a patient's tissue the amounts of stain of a reference, for `restain` (Reinhard et al. 2001).

    Args:
        images: all of the patient's, `[images, height, width, 3]` uint8 RGB.
        mean: of each stain's amount over tissue, `[3]`.
        spread: its standard deviation, `[3]`.

    Returns:
        Gain and shift of each stain, `[2, 3]`; gain 1 and shift 0 where there is hardly any tissue to tell from.
    """
    density = -torch.log10((images.reshape(-1, 3).float() / 255).clamp_min(_DARKEST))
    tissue = density[density.mean(dim=1) >= TISSUE]
    if len(tissue) < _FEW:
        return torch.tensor([[1.0] * 3, [0.0] * 3])
    amounts = tissue @ torch.linalg.inv(_hed())
    gain = (torch.tensor(spread) / amounts.std(dim=0).clamp_min(1e-6)).clamp(1 / _MOST, _MOST)
    return torch.stack([gain, torch.tensor(mean) - gain * amounts.mean(dim=0)])


def _hed() -> Tensor:
    return nn.functional.normalize(torch.tensor(HED), dim=1)
