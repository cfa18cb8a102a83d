"""Moments pool exactly."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foundation.federation.statistics.moments import Moments, Spread
from tests.foundation.federation.statistics.comparisons import CLOSE

tables = st.integers(1, 4).flatmap(
    lambda columns: st.lists(
        hnp.arrays(
            np.float64,
            st.tuples(st.integers(0, 6), st.just(columns)),
            elements=st.one_of(st.just(np.nan), st.floats(-1e4, 1e4, width=32)),
        ),
        min_size=1,
        max_size=5,
    )
)


@given(tables)
@settings(deadline=None)
def test_merged_moments_are_those_of_all_rows(rows):
    merged = Moments.of(rows[0])
    for part in rows[1:]:
        merged = merged.merge(Moments.of(part))
    together = np.concatenate(rows)
    for column in range(together.shape[1]):
        known = together[~np.isnan(together[:, column]), column]
        assert merged.count[column] == len(known)
        if len(known):
            scale = max(1.0, np.abs(known).max())
            np.testing.assert_allclose(merged.mean[column] / scale, known.mean() / scale, **CLOSE)
            np.testing.assert_allclose(merged.m2[column] / scale**2, known.var() * len(known) / scale**2, **CLOSE)


def test_means_far_from_zero_lose_no_variance():
    values = np.random.default_rng(0).normal(1e8, 1, (3000, 1))
    merged = Moments.of(values[:1000]).merge(Moments.of(values[1000:]))
    np.testing.assert_allclose(merged.m2[0] / 2999, values.var(ddof=1), rtol=1e-7)


def test_spread_is_the_covariance():
    values = np.random.default_rng(1).normal(size=(50, 3)) @ np.random.default_rng(2).normal(size=(3, 3))
    merged = Spread.of(values[:0]).merge(Spread.of(values[:7])).merge(Spread.of(values[7:]))
    np.testing.assert_allclose(merged.mean, values.mean(axis=0), **CLOSE)
    np.testing.assert_allclose(merged.m2 / 49, np.cov(values.T), **CLOSE)
