"""Tissue on a stained slide, told from glass by its colour."""

import numpy as np
from numpy.typing import NDArray

# Otsu always cuts somewhere: on bare glass into noise, on a slide full of tissue through it. These bounds hold it.
_SATURATION = (0.05, 0.2)
_DARK = 0.1  # below it (scanner's black, pen, folds) colour means nothing
_SPECK = 0.01  # square millimetres; smaller islands are dust, smaller holes are part of the tissue


def tissue_mask(picture: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Where tissue is: Otsu's threshold on saturation, gaps closed, specks and pinholes removed.

    Args:
        picture: of the slide, RGB `[height, width, 3]`.
        mpp: of the picture, microns per pixel.

    Returns:
        `[height, width]`.
    """
    # Here, for whoever has no new slide need not wait for it.
    from skimage.color import rgb2hsv
    from skimage.filters import gaussian, threshold_otsu
    from skimage.morphology import closing, disk, remove_small_holes, remove_small_objects

    hsv = rgb2hsv(picture.astype(np.float32) / 255)  # half of what double precision takes
    lit = hsv[..., 2] > _DARK
    saturation = gaussian(np.where(lit, hsv[..., 1], 0), sigma=1)
    threshold = _SATURATION[0] if np.ptp(saturation) == 0 else np.clip(threshold_otsu(saturation), *_SATURATION)
    mask = closing(saturation > threshold, disk(2))
    speck = round(_SPECK * 1e6 / mpp**2)
    mask = remove_small_objects(mask, max_size=speck)
    return np.asarray(remove_small_holes(mask, max_size=speck) & lit)
