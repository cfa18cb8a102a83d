"""Small cells of tables with totals: hidden, and with them what would give one away."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foundation.statistics.suppression import cells_in_words, determined, follow, hidden_cells


def determined_by_rank(hidden: np.ndarray) -> np.ndarray:
    """Hidden cells, in order, that shown ones and totals tell: no others' columns of the equations make up theirs."""
    places = np.argwhere(hidden)
    equations = [[float(place[0] == row) for place in places] for row in range(hidden.shape[0])]
    equations += [[float(place[1] == column) for place in places] for column in range(hidden.shape[1])]
    matrix, rank = np.array(equations), np.linalg.matrix_rank(np.array(equations))
    return np.array([np.linalg.matrix_rank(np.delete(matrix, k, axis=1)) < rank for k in range(len(places))], bool)


@settings(max_examples=60, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(2, 5), st.integers(2, 5)), elements=st.integers(0, 12)))
@example(np.array([[1, 0, 5, 0], [0, 0, 0, 5], [5, 0, 0, 0], [0, 5, 0, 0]]))  # a lone bridge between two loops
def test_small_cells_are_hidden_and_no_line_gives_one_away(counts: np.ndarray):
    hidden = hidden_cells(counts, 5)
    assert hidden[(counts > 0) & (counts < 5)].all()
    for line, mask in [*zip(counts, hidden, strict=True), *zip(counts.T, hidden.T, strict=True)]:
        assert not mask.any() or mask.sum() > 1
        assert not mask.any() or mask.all() or line[mask].sum() >= 5
    small = (counts > 0) & (counts < 5)
    if small.any():
        assert not determined_by_rank(hidden)[small[hidden]].any()


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(2, 5), st.integers(2, 5))))
def test_cells_that_totals_determine_are_those_without_which_their_rank_falls(hidden: np.ndarray):
    lines = [{(row, column) for column in range(hidden.shape[1])} for row in range(hidden.shape[0])]
    lines += [{(row, column) for row in range(hidden.shape[0])} for column in range(hidden.shape[1])]
    places = [(int(row), int(column)) for row, column in np.argwhere(hidden)]
    expected = {place for place, fixed in zip(places, determined_by_rank(hidden), strict=True) if fixed}
    assert determined(places, lines) == expected


def test_a_sum_follows_where_told_ones_make_it_up():
    told = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    assert follow(told, np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])).tolist() == [True, False]


def test_hidden_cells_are_a_word():
    counts = np.array([[3, 9], [12, 30]])
    assert cells_in_words(counts, hidden_cells(counts, 5)).tolist() == [["hidden", "hidden"], ["hidden", "hidden"]]
    assert cells_in_words(counts, hidden_cells(counts, 3)).tolist() == [["3", "9"], ["12", "30"]]
