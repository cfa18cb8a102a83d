"""Digests of arrays."""

import numpy as np

from foundation.federation.wire.digest import WeightsDigest, digest_of_weights

ARRAYS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7, np.int64), "c": np.zeros((0, 2))}


def test_a_digest_is_that_of_names_types_shapes_and_values():
    digest = digest_of_weights(ARRAYS)
    assert digest == digest_of_weights(dict(reversed(ARRAYS.items())))
    transposed = np.asfortranarray(ARRAYS["b"])
    assert digest == digest_of_weights({**ARRAYS, "b": transposed})
    assert digest == digest_of_weights({**ARRAYS, "b": ARRAYS["b"].astype(">f4")})
    others = [
        {**ARRAYS, "b": ARRAYS["b"].reshape(3, 2)},
        {**ARRAYS, "b": ARRAYS["b"].astype(np.float64)},
        {**ARRAYS, "b": ARRAYS["b"].view(np.int32)},
        {**ARRAYS, "b": np.nextafter(ARRAYS["b"], np.float32(9))},
        {"b": ARRAYS["b"], "a": ARRAYS["a"]},
        {"B": ARRAYS["b"], "a": ARRAYS["a"], "c": ARRAYS["c"]},
        {},
    ]
    assert len({digest, *map(digest_of_weights, others)}) == 1 + len(others)
    by_hand = WeightsDigest()
    for name in ("a", "c", "b"):
        by_hand.update(name, ARRAYS[name])
    assert (by_hand.hexdigest(), by_hand.bytes) == (digest, 32)
