"""Stain normalisation: tissue takes the reference's stains, whatever its own were; glass stays as it is."""

import foundation  # noqa: F401  # isort: skip
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.modalities.stain_normalisation import macenko, reinhard
from tests.foundation.slide_files import GLASS

REFERENCE = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])  # Macenko's, haematoxylin and eosin
OTHER = np.array([[0.60, 0.70, 0.39], [0.30, 0.85, 0.43]])  # another laboratory's
METHODS = [macenko, reinhard]


def unit(stains: np.ndarray) -> np.ndarray:
    return stains / np.linalg.norm(stains, axis=1, keepdims=True)


def amounts(most: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Of two stains at each pixel `[64 * 64, 2]`; a tenth of pixels has each of them alone."""
    drawn = 0.6 + 0.4 * np.random.default_rng(seed).random((64 * 64, 2))
    drawn[::10, 0], drawn[1::10, 1] = 0, 0
    return drawn * most


def tile(stains: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    colours = 240 * np.exp(-drawn @ unit(stains)) - 1
    return np.clip(colours, 0, 255).round().astype(np.uint8).reshape(64, 64, 3)


@pytest.mark.parametrize("most", [(1.3, 1.1), (1.0, 1.2)], ids=str)
def test_macenko_puts_the_references_stains_in_the_place_of_the_tiles(most):
    drawn = amounts(most)
    scaled = drawn / np.percentile(drawn, 99, axis=0) * [1.9705, 1.0308]
    expected = 240 * np.exp(-scaled @ REFERENCE)
    normalised = macenko(tile(OTHER, drawn)).reshape(-1, 3).astype(float)
    assert np.abs(normalised - expected).max() < 6  # the tile is of whole bytes
    assert np.abs(normalised - expected).mean() < 1.5


def test_reinhard_gives_tissue_the_references_mean_and_spread():
    cones = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
    picture = np.where((np.arange(64 * 64) % 3 == 0)[:, None], (90, 40, 110), (190, 120, 160)).astype(np.uint8)
    picture = picture.reshape(64, 64, 3)
    lightness = np.log(reinhard(picture).reshape(-1, 3) @ cones.T).sum(axis=1) / np.sqrt(3)
    assert abs(lightness.mean() - 8.74108109) < 0.02
    assert abs(lightness.std() - 0.6135447) < 0.02


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("colour", [GLASS, (255, 255, 255), (0, 0, 0), (120, 70, 150)], ids=str)
def test_a_tile_of_one_colour_is_no_tile_of_numbers_that_are_none(method, colour):
    plain = np.full((32, 32, 3), colour, np.uint8)
    normalised = method(plain)
    assert normalised.shape == plain.shape and normalised.dtype == np.uint8
    if colour in (GLASS, (255, 255, 255)) or method is macenko:
        np.testing.assert_array_equal(normalised, plain)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), haematoxylin=st.floats(0.3, 2), eosin=st.floats(0.3, 2))
def test_places_do_not_matter_and_any_tissue_gives_bytes(method, seed, haematoxylin, eosin):
    picture = tile(OTHER, amounts((haematoxylin, eosin), seed))
    normalised = method(picture)
    assert normalised.shape == picture.shape and normalised.dtype == np.uint8
    turned = method(np.ascontiguousarray(picture.transpose(1, 0, 2)))
    # Sums in another order may tip a byte that stands between two.
    assert np.abs(turned.transpose(1, 0, 2).astype(int) - normalised).max() <= 1
