import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finetune.reliability.quantiles import conformal_rank, order_statistics

VALUES = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=30)


def at_most(values: np.ndarray):
    return lambda edges: (values <= edges[..., None]).sum(axis=-1)


@given(VALUES)
def test_every_rank_is_the_sorted_value_and_beyond_the_last_it_is_infinite(values):
    column = np.array(values, dtype=np.float32)
    ranks = np.arange(1, len(values) + 2)
    expected = np.append(np.sort(column), np.float32(np.inf))
    np.testing.assert_array_equal(order_statistics(at_most(column), ranks), expected)


@given(VALUES, VALUES)
def test_counts_of_two_hospitals_give_the_threshold_of_all(one, other):
    here, there = np.array(one, np.float32), np.array(other, np.float32)
    together = np.concatenate([here, there])
    ranks = conformal_rank(np.array([len(together)]), 0.9)
    apart = order_statistics(lambda edges: at_most(here)(edges) + at_most(there)(edges), ranks)
    np.testing.assert_array_equal(apart, order_statistics(at_most(together), ranks))


def test_cells_are_searched_together():
    values = np.random.default_rng(0).normal(size=(7, 40, 3)).astype(np.float32)
    ranks = np.random.default_rng(1).integers(1, 41, size=(7, 3))
    edges_asked = []

    def count(edges: np.ndarray) -> np.ndarray:
        edges_asked.append(edges)
        return (values <= edges[:, :, None]).sum(axis=2)

    found = order_statistics(count, ranks)
    expected = np.take_along_axis(np.sort(values, axis=1), ranks[:, None] - 1, axis=1)[:, 0]
    np.testing.assert_array_equal(found, expected)
    assert len(edges_asked) <= 32


@given(st.integers(0, 500), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
def test_the_rank_covers_a_further_patient_with_at_least_the_chance(patients, coverage):
    rank = int(conformal_rank(np.array(patients), coverage))
    assert rank / (patients + 1) >= coverage - 1e-9
    assert rank == max(1, math.ceil((patients + 1) * coverage - 1e-9))
