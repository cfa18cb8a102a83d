"""Adding of sites' arrays: what is nearly empty is added where it is not, and comes out as any other."""

import numpy as np
import pytest

from foundation.federation.server.sums import _added


@pytest.mark.parametrize("shares", [(0.001, 0.001), (0.001, 0.9), (0.9, 0.9), (0.0, 0.0)])
@pytest.mark.parametrize("types", [("uint8", "uint8"), ("uint8", "uint16"), ("uint8", "float64"), ("int64", "uint8")])
def test_sums_are_those_of_the_arrays_however_full_and_narrow_they_are(
    shares: tuple[float, float], types: tuple[str, str]
) -> None:
    rng, shape = np.random.default_rng(0), (7, 30, 20)
    parts = [
        (rng.integers(1, 255, shape) * (rng.random(shape) < share)).astype(kind)
        for share, kind in zip(shares, types, strict=True)
    ]
    total = _added(parts, shape)
    np.testing.assert_array_equal(total, parts[0].astype(np.float64) + parts[1].astype(np.float64))
    assert total.dtype == (np.int32 if all(part.dtype.itemsize <= 2 for part in parts) else np.float64)


def test_sum_of_nobody_is_zero() -> None:
    assert _added([], (2, 3)).tolist() == [[0.0] * 3] * 2
