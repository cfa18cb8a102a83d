"""Numbers as whole ones for masks: what is summed in parts is the sum."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foundation.errors import UserError
from foundation.federation.secure import SecureOrder
from foundation.federation.secure.site import submission
from foundation.federation.sums.fixed_point import RANGE, from_parts, parts_before, to_parts
from foundation.federation.weights.update import SiteUpdate

NUMBERS = st.floats(-(2.0**37), 2.0**37, allow_nan=False)
SITES = arrays.arrays(np.float64, st.tuples(st.integers(1, 7), st.just(3)), elements=NUMBERS)


@given(SITES)
def test_parts_add_up_to_the_sum(sites: np.ndarray):
    parts = [to_parts({"table": site})["table"] for site in sites]
    total = from_parts({"table": np.sum(parts, axis=0)})["table"]
    exact = [math.fsum(column) for column in sites.T]
    # A number is rounded once at its site, to 2**-41, and the total once more, in double precision.
    np.testing.assert_allclose(total, exact, rtol=2**-52, atol=len(sites) * 2.0**-41)


@given(SITES)
def test_masks_carry_every_part_unchanged(sites: np.ndarray):
    before = parts_before({"sums.table": (3,)})
    order = SecureOrder(1, ("sums",), (10.0,), RANGE, ())
    for site in sites:
        parts = to_parts({"sums.table": site})
        submitted = submission(order, before, SiteUpdate(parts, {"sums": 1}))
        assert submitted.clipped == {"sums": 0.0}
        # Quantisation keeps multiples of 2**-20 whole: it has at least 2**25 levels.
        np.testing.assert_array_equal(submitted.arrays[1] * 2**20, parts["sums.table"].reshape(-1))


def test_whole_numbers_come_back_as_they_are():
    counts = np.array([[0, 1, 7], [2**30, 5, -3]])
    np.testing.assert_array_equal(from_parts({"counts": to_parts({"counts": counts})["counts"]})["counts"], counts)


@pytest.mark.parametrize("number", [math.nan, math.inf, 2.0**38, -(2.0**40)])
def test_numbers_that_masks_cannot_carry_are_refused(number: float):
    with pytest.raises(UserError, match=r"^sums: table holds a number that is not finite, or beyond 274877906944"):
        to_parts({"table": np.array([0.0, number])})
