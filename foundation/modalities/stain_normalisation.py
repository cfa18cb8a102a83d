"""Stain normalisation of single tiles: Macenko et al. 2009, and Reinhard et al. 2001.

Each tile by itself, so that its features hang on no other tile: those that a request brings are those of the slide.
"""

import numpy as np
from numpy.typing import NDArray

# Haematoxylin and eosin in optical density (base e), and the 99th percentiles of their amounts: the reference slide of
# Macenko's own implementation.
_REFERENCE = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
_REFERENCE_AMOUNTS = np.array([1.9705, 1.0308])
_LIGHT = 240.0  # of glass
_TISSUE = 0.15  # least optical density of tissue (Macenko et al.)
_ANGLES = (1.0, 99.0)  # percentiles that are the two stains
_FEW = 64  # pixels of tissue that say nothing of a tile's stain
_LEAST_ANGLE = np.deg2rad(2.0)  # between two stains; closer together there is one

# Ruderman's axes of colour (1998): logarithms of cone responses, decorrelated.
_CONES = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_AXES = np.diag(1 / np.sqrt([3.0, 6.0, 2.0])) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]], float)
# Their mean and spread over the tissue of a region of TCGA-A2-A3XS, as HistomicsTK takes for its reference.
_MEAN = np.array([8.74108109, -0.12440419, 0.0444982])
_SPREAD = np.array([0.6135447, 0.10989545, 0.0286032])


def macenko(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A tile in the two stains of the reference; as it is where hardly any tissue, or one stain alone, can be told.

    The plane that holds most of the tissue's optical density is found, in it the two extreme directions, and each
    pixel's amounts of these stains become amounts of the reference's (Macenko et al. 2009).

    Args:
        tile: RGB `[height, width, 3]`.
    """
    density = -np.log((tile.reshape(-1, 3).astype(np.float64) + 1) / _LIGHT)
    tissue = density[(density >= _TISSUE).all(axis=1)]
    if len(tissue) < _FEW:
        return tile
    stains = _stains(tissue)
    if stains is None:
        return tile
    amounts = density @ np.linalg.pinv(stains)
    most = np.percentile(amounts, 99, axis=0)
    if (most <= 0).any():
        return tile
    normalised = _LIGHT * np.exp(-(amounts * (_REFERENCE_AMOUNTS / most)) @ _REFERENCE)
    return _as_bytes(normalised, tile.shape)


def _stains(tissue: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Optical density of haematoxylin and eosin, `[2, 3]`, each of length one; None where there is one alone."""
    _, axes = np.linalg.eigh(np.cov(tissue, rowvar=False))
    plane = axes[:, :0:-1]  # the two of most variance
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    seen = tissue @ plane
    low, high = np.percentile(np.arctan2(seen[:, 1], seen[:, 0]), _ANGLES)
    if high - low < _LEAST_ANGLE:
        return None
    one, other = (plane @ np.array([np.cos(angle), np.sin(angle)]) for angle in (low, high))
    return np.stack([one, other] if one[0] > other[0] else [other, one])  # haematoxylin takes more red


def reinhard(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A tile whose tissue has mean and spread of the reference on Ruderman's axes; glass stays as it is.

    As it is where there is hardly any tissue (Reinhard et al. 2001).

    Args:
        tile: RGB `[height, width, 3]`.
    """
    colours = np.maximum(tile.reshape(-1, 3).astype(np.float64), 1)
    seen = np.log(colours @ _CONES.T) @ _AXES.T
    tissue = -np.log(colours / _LIGHT).mean(axis=1) >= _TISSUE
    if tissue.sum() < _FEW:
        return tile
    mean, spread = seen[tissue].mean(axis=0), seen[tissue].std(axis=0)
    seen[tissue] = (seen[tissue] - mean) / np.maximum(spread, 1e-6) * _SPREAD + _MEAN
    normalised = np.exp(seen @ np.linalg.inv(_AXES).T) @ np.linalg.inv(_CONES).T
    return _as_bytes(np.where(tissue[:, None], normalised, colours), tile.shape)


def _as_bytes(colours: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.clip(np.round(colours), 0, 255).astype(np.uint8).reshape(shape)


METHODS = {"macenko": macenko, "reinhard": reinhard}
