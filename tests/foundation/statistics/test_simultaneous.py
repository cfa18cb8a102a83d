"""Intervals that hold all at once: of one, of figures that move together, and of many."""

import numpy as np
import pytest

from foundation.statistics.comparison import simultaneous


def drawn(rng: np.random.Generator, figures: int, patients: int = 50, replicates: int = 600) -> list[np.ndarray]:
    """Means of differences whose truth is zero, each of its own patients, by replicate."""
    values = rng.normal(size=(figures, patients))
    weights = rng.poisson(1, (figures, replicates, patients))
    means = np.einsum("frp,fp->fr", weights, values) / weights.sum(axis=2)
    return list(np.concatenate([values.mean(axis=1, keepdims=True), means], axis=1))


def half(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return (interval[1] - interval[0]) / 2


def test_one_figure_has_the_interval_that_it_would_have_alone() -> None:
    (gap,) = drawn(np.random.default_rng(0), 1, replicates=4000)
    (interval,) = simultaneous([gap])
    assert half(interval) == pytest.approx(1.96 * gap[1:].std(), rel=0.04)
    assert interval is not None and sum(interval) / 2 == pytest.approx(gap[0])


def test_figures_that_move_together_count_once() -> None:
    (gap,) = drawn(np.random.default_rng(0), 1)
    alone = half(simultaneous([gap])[0])
    assert [half(one) for one in simultaneous([gap, gap, 3 * gap])] == pytest.approx([alone, alone, 3 * alone])


def test_of_many_figures_any_misses_zero_with_chance_one_in_twenty() -> None:
    rng = np.random.default_rng(0)
    families = [drawn(rng, 10) for _ in range(200)]
    missed = [[one is not None and not one[0] <= 0 <= one[1] for one in simultaneous(gaps)] for gaps in families]
    alone = [[abs(gap[0]) > 1.96 * gap[1:].std() for gap in gaps] for gaps in families]
    assert np.mean([any(one) for one in alone]) > 0.3
    assert np.mean([any(one) for one in missed]) == pytest.approx(0.05, abs=0.035)


def test_a_figure_that_is_seldom_defined_has_none_and_costs_the_others_nothing() -> None:
    one, other = drawn(np.random.default_rng(0), 2)
    gaps = other.copy()
    gaps[1 : len(gaps) // 2] = np.nan
    assert simultaneous([one, gaps]) == [simultaneous([one])[0], None]
    gaps = other.copy()
    gaps[0] = np.nan
    assert simultaneous([gaps, one]) == [None, simultaneous([one])[0]]
    other[1:50] = np.nan
    assert all(interval is not None for interval in simultaneous([one, other]))


def test_figures_that_never_differ_are_points() -> None:
    same = np.zeros(100)
    (one,) = drawn(np.random.default_rng(0), 1, replicates=99)
    assert simultaneous([same]) == [(0.0, 0.0)]
    assert simultaneous([same, one])[1] == simultaneous([one])[0]
    assert simultaneous([]) == []
