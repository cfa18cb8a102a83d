"""Masks of full strength: every bit of a seed counts, at sites and at the server alike."""

from importlib import import_module

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from foundation.federation.secure.masks import expand
from foundation.federation.secure.settings import MODULUS
from tests.foundation.federation.secure_sites import a_task, grid_of, round_of  # noqa: F401 - a fixture

SEED = bytes(range(32))
FLOWERS = (
    "flwr.client.mod.secure_aggregation.secaggplus_mod",
    "flwr.server.workflow.secure_aggregation.secaggplus_workflow",
)


def quarter_round(state: list[int], a: int, b: int, c: int, d: int) -> None:
    """Of ChaCha (RFC 8439, section 2.1)."""
    for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[x] = (state[x] + state[y]) % 2**32
        mixed = state[z] ^ state[x]
        state[z] = (mixed << bits | mixed >> (32 - bits)) % 2**32


def chacha_block(key: bytes, counter: int) -> list[int]:
    """The sixteen words of a block under a nonce of zero, by the RFC's own description."""
    start = [*np.frombuffer(b"expand 32-byte k", "<u4").tolist(), *np.frombuffer(key, "<u4").tolist(), counter, 0, 0, 0]
    state = list(start)
    for _ in range(10):
        for place in range(4):
            quarter_round(state, place, place + 4, place + 8, place + 12)
        for place in range(4):
            quarter_round(state, place, 4 + (place + 1) % 4, 8 + (place + 2) % 4, 12 + (place + 3) % 4)
    return [(one + other) % 2**32 for one, other in zip(state, start, strict=True)]


def test_a_mask_is_the_keystream_of_chacha20_under_the_derived_key():
    key = HKDF(SHA256(), 32, salt=None, info=b"consilium: mask of secure aggregation").derive(SEED)
    expected = [*chacha_block(key, 0), *chacha_block(key, 1)]
    first, second = expand(SEED, MODULUS, [(5, 2), (22,)])
    assert [*first.ravel().tolist(), *second.tolist()] == expected


@settings(max_examples=60, deadline=None)
@given(seed=st.binary(min_size=16, max_size=48), bit=st.integers(0, 127))
def test_every_bit_of_a_seed_changes_the_mask(seed: bytes, bit: int):
    other = bytearray(seed)
    other[bit // 8] ^= 1 << bit % 8
    (one,), (changed,) = expand(seed, MODULUS, [(64,)]), expand(bytes(other), MODULUS, [(64,)])
    assert (one != changed).sum() > 60


@pytest.mark.attack
def test_attack_of_a_server_that_tries_all_seeds_of_32_bits():
    """Flower folds a seed into 32 bits by XOR: words in another order, or any with the same sum, give its mask."""
    words = [SEED[place : place + 4] for place in range(0, 32, 4)]
    alike = [
        b"".join(words[::-1]),
        bytes(28) + bytes(np.bitwise_xor.reduce([np.frombuffer(w, np.uint8) for w in words])),
    ]
    flowers = import_module("flwr.common.secure_aggregation.secaggplus_utils").pseudo_rand_gen
    (target,), (ours,) = flowers(SEED, MODULUS, [(8,)]), expand(SEED, MODULUS, [(8,)])
    for guess in alike:
        np.testing.assert_array_equal(flowers(guess, MODULUS, [(8,)])[0], target)
        assert not (expand(guess, MODULUS, [(8,)])[0] == ours).any()


def test_masks_are_uniform_up_to_the_largest_number_and_of_small_moduli_too():
    (values,) = expand(SEED, MODULUS, [(200_000,)])
    counts, _ = np.histogram(values, bins=64, range=(0, MODULUS))
    assert chisquare(counts).pvalue > 1e-4 and values.dtype == np.int64
    (small,) = expand(SEED, 4, [(20_000,)])
    assert set(small.tolist()) == {0, 1, 2, 3} and chisquare(np.bincount(small)).pvalue > 1e-4
    assert expand(SEED, MODULUS, [()])[0].shape == () and expand(SEED, MODULUS, [(0,)])[0].size == 0
    for modulus in (0, 3, 2**33, -4):
        with pytest.raises(ValueError, match="no power of two"):
            expand(SEED, modulus, [(1,)])


def test_a_round_draws_no_mask_by_flowers_own_generator(monkeypatch: pytest.MonkeyPatch):
    for name in FLOWERS:
        monkeypatch.setattr(import_module(name), "pseudo_rand_gen", lambda *_: pytest.fail("32 bits"))
    assert len(round_of(grid_of()).took_part) == 4
    assert all(import_module(name).pseudo_rand_gen is expand for name in FLOWERS)
