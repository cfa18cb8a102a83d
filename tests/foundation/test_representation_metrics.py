"""Signs of collapse, by embeddings of which they are known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.representation_metrics import alignment, effective_rank, representation_metrics, uniformity


def sphere(count: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, width, generator=generator), dim=-1)


def test_a_point_has_no_rank_and_a_line_has_one():
    assert effective_rank(sphere(1, 8).expand(10, 8)) == 0
    line = torch.linspace(-1, 1, 9)[:, None] * sphere(1, 8)
    assert effective_rank(line) == pytest.approx(1)


def test_axes_of_one_length_have_their_number():
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    assert effective_rank(axes) == pytest.approx(4)


@given(st.integers(3, 40), st.integers(2, 12), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_rank_is_between_one_and_what_fits(count, width, seed):
    assert 1 <= effective_rank(sphere(count, width, seed)) <= min(count - 1, width) + 1e-9


def test_uniformity_is_zero_where_all_are_one_and_falls_where_they_spread():
    assert uniformity(sphere(1, 8).expand(10, 8)) == pytest.approx(0)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(sphere(200, 64)) < -3.5


def test_alignment_is_the_squared_distance_of_partners():
    assert alignment(sphere(5, 3), sphere(5, 3)) == 0
    assert alignment(torch.eye(3), torch.eye(3).roll(1, 0)) == pytest.approx(2)


def test_every_modality_and_pair_is_watched():
    present = {"a": torch.tensor([True, True, False, True]), "b": torch.tensor([True, False, True, True])}
    embeddings = {"a": sphere(3, 4), "b": sphere(3, 4, 1)}
    found = representation_metrics(embeddings, present)
    assert sorted(found) == ["a/effective_rank", "a/uniformity", "a_b/alignment", "b/effective_rank", "b/uniformity"]
    partners = alignment(embeddings["a"][[0, 2]], embeddings["b"][[0, 2]])
    assert found["a_b/alignment"] == pytest.approx(partners)
    assert all(math.isfinite(value) for value in found.values())
