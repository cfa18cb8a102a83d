"""The masks of secure aggregation: a keystream of ChaCha20 whose key is derived from the whole of a shared secret.

HKDF with SHA-256 (RFC 5869) makes a key of 256 bits out of a seed, and ChaCha20 (RFC 8439) the stream; both are those
of `cryptography`. A key serves one seed, and a seed one round, so the nonce is constant.
"""

import math
from importlib import import_module

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

_KEY = 32  # bytes
_NONCE = bytes(16)  # block counter and nonce, from zero
_PURPOSE = b"consilium: mask of secure aggregation"
_WORD = np.dtype("<u4")
_WIDEST = 2**32  # what a word of the stream holds
_FLOWERS = (
    "flwr.client.mod.secure_aggregation.secaggplus_mod",
    "flwr.server.workflow.secure_aggregation.secaggplus_workflow",
)


def expand(seed: bytes, modulus: int, shapes: list[tuple[int, ...]]) -> list[NDArray[np.int64]]:
    """Arrays of numbers uniform from 0 to below the modulus, which nobody tells from random without the seed.

    Args:
        seed: a shared secret, or a site's own; all of its bits count.
        modulus: a power of two, up to 2**32, so that a word's lower bits are uniform.
        shapes: of the arrays.

    Raises:
        ValueError: if the modulus is none.
    """
    if not 0 < modulus <= _WIDEST or modulus & (modulus - 1):
        raise ValueError(f"modulus {modulus}: no power of two up to {_WIDEST}")
    key = HKDF(SHA256(), _KEY, salt=None, info=_PURPOSE).derive(seed)
    stream = Cipher(ChaCha20(key, _NONCE), mode=None).encryptor()
    masks = []
    for shape in shapes:
        words = np.frombuffer(stream.update(bytes(_WORD.itemsize * math.prod(shape))), _WORD)
        masks.append((words.astype(np.int64) & (modulus - 1)).reshape(shape))
    return masks


def replace_flowers_masks() -> None:
    """Lets Flower's SecAgg+ in this process, a site's or the server's, draw its masks by `expand`.

    Flower folds a seed of 256 bits or more into 32 before it draws (flwrlabs/flower#7522), so that whoever runs the
    server can try them all. Without this: two seeds whose words stand in another order give the same mask.
    """
    for name in _FLOWERS:
        vars(import_module(name))["pseudo_rand_gen"] = expand
