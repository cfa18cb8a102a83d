"""Near-identical images: the same pairs as comparing all with all, and hashes that survive what hospitals do."""

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foundation.data.perceptual import difference_hash, near_identical
from foundation.modalities.pathology.slides import Slide
from tests.foundation.slide_files import REAL


def brute_force(hashes: np.ndarray, owners: np.ndarray, distance: int) -> list[list[int]]:
    first: dict[tuple[int, int], int] = {}
    for index, key in enumerate(zip(hashes.tolist(), owners.tolist(), strict=True)):
        first.setdefault(key, index)
    kept = sorted(index for (value, _), index in first.items() if value)
    return [
        [a, b]
        for place, a in enumerate(kept)
        for b in kept[place + 1 :]
        if owners[a] != owners[b] and int(hashes[a] ^ hashes[b]).bit_count() <= distance
    ]


@given(st.data(), st.integers(0, 10), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_found_are_exactly_the_pairs_that_brute_force_finds(data, distance, seed):
    count = data.draw(st.integers(0, 60))
    rng = np.random.default_rng(seed)
    # A few originals, each copied with some bits turned: near pairs are common.
    originals = rng.integers(0, 2**64, 5, dtype=np.uint64) * rng.integers(0, 2, 5, dtype=np.uint64)
    hashes = originals[rng.integers(0, 5, count)]
    for _ in range(data.draw(st.integers(0, 12))):
        turned = np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64)
        hashes = np.where(rng.random(count) < 0.5, hashes ^ turned, hashes)
    owners = rng.integers(0, 4, count).astype(str)
    found = near_identical(hashes, owners, distance)
    assert found.shape[1] == 2
    assert found.tolist() == brute_force(hashes, owners, distance)


def test_a_hundred_thousand_hashes_hold_exactly_the_pairs_planted():
    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 2**64, 100_000, dtype=np.uint64)
    owners = np.arange(100_000) // 10
    copies = hashes[:50] ^ np.uint64(0b1000_0000_0101_0001)
    found = near_identical(np.concatenate([hashes, copies]), np.concatenate([owners, owners[:50] + 20_000]), 4)
    assert found.tolist() == [[index, 100_000 + index] for index in range(50)]


def test_a_picture_shared_by_many_patients_is_a_pair_for_each_two():
    hashes, owners = np.full(30, 7, np.uint64), np.repeat([3, 1, 2], 10)
    assert near_identical(hashes, owners, 0).tolist() == [[0, 10], [0, 20], [10, 20]]


def test_a_hash_survives_scaling_and_recompression_and_tells_a_slides_tiles_apart():
    with Slide(REAL) as slide:
        places = [(x, y) for y in range(0, 2700, 224) for x in range(0, 1900, 224)]
        tiles = np.stack([slide.read(x, y, (224, 224), 0.5) for x, y in places])
    copies = []
    for tile in tiles:
        stream = io.BytesIO()
        Image.fromarray(tile).resize((180, 180), Image.Resampling.BILINEAR).save(stream, "JPEG", quality=60)
        copies.append(np.clip(np.asarray(Image.open(stream)).astype(int) + 8, 0, 255).astype(np.uint8))
    hashes = np.concatenate([difference_hash(tiles), difference_hash(np.stack(copies))])
    count = len(tiles)
    structured = np.flatnonzero(hashes[:count])
    assert len(structured) > count / 2, "half of the region is glass"
    found = near_identical(hashes, np.arange(2 * count))
    assert found.tolist() == [[index, count + index] for index in structured]


def test_an_even_picture_has_no_hash_and_no_twin():
    even = np.stack([np.full((64, 64, 3), grey, np.uint8) for grey in (0, 37, 255)])
    assert difference_hash(even).tolist() == [0, 0, 0]
    assert len(near_identical(difference_hash(even), np.arange(3))) == 0


def test_a_hash_is_where_brightness_rises():
    stripes = np.repeat(np.arange(9, dtype=np.uint8) % 2 * 200, 10)
    picture = np.repeat(np.broadcast_to(stripes, (80, 90))[..., None], 3, axis=2)
    assert difference_hash(picture[None]).tolist() == [0x5555555555555555]
    assert difference_hash(picture[None, :, ::-1]).tolist() == [0x5555555555555555], (
        "nine stripes mirror onto themselves"
    )
    assert difference_hash(255 - picture[None]).tolist() == [0xAAAAAAAAAAAAAAAA]
