"""Amounts of stain in numpy: what a server computes of them, which has no torch."""

import numpy as np
from numpy.typing import NDArray

# Optical density of haematoxylin, eosin and DAB in red, green and blue (Ruifrok and Johnston 2001).
HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
TISSUE = 0.15  # mean optical density of the faintest tissue (as Macenko et al. 2009 tell it from glass)


def amounts(
    mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean `[3]` and covariance `[3, 3]` of amounts of stain, from those of optical density."""
    hed = np.array(HED)
    inverse = np.linalg.inv(hed / np.linalg.norm(hed, axis=1, keepdims=True))
    return mean @ inverse, inverse.T @ covariance @ inverse
