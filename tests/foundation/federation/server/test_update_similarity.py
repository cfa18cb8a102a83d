"""The mean cosine of all pairs of updates, without a pair in memory."""

from itertools import combinations

import numpy as np
import pytest

from foundation.federation.server.update_similarity import update_similarity
from foundation.federation.weights.update import SiteUpdate

A, B = "encoder.fusion.one", "encoder.fusion.two"
GENES = "encoder.modalities.genomics.embed"
COUNTER = "encoder.modalities.genomics.seen"


def update(difference: dict[str, np.ndarray], **samples: int) -> SiteUpdate:
    return SiteUpdate(difference, samples)


def random_updates(count: int) -> dict[str, SiteUpdate]:
    rng = np.random.default_rng(3)
    shapes = {A: (4, 3), B: (5,), GENES: (7,)}
    return {
        str(number): update(
            {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}, fusion=3, genomics=2
        )
        for number in range(count)
    }


@pytest.mark.parametrize("count", [2, 3, 6])
def test_equals_the_mean_over_all_pairs(count: int):
    updates = random_updates(count)
    flat = [np.concatenate([u.difference[A].ravel(), u.difference[B]]).astype(np.float64) for u in updates.values()]
    pairs = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in combinations(flat, 2)]
    assert update_similarity(updates, frozenset())["fusion"] == pytest.approx(np.mean(pairs), abs=1e-12)


def test_sites_that_did_not_teach_a_group_or_did_not_move_it_have_no_direction():
    updates = random_updates(3)
    updates["0"].samples["genomics"] = 0
    updates["1"].difference = {
        name: value * 0 if name == GENES else value for name, value in updates["1"].difference.items()
    }
    found = update_similarity(updates, frozenset())
    assert "genomics" not in found, "one direction alone agrees with nobody"
    assert "fusion" in found


def test_an_array_that_a_site_did_not_change_counts_as_zero():
    one, other = update({A: np.ones(2), B: np.ones(2)}, fusion=1), update({A: np.ones(2)}, fusion=1)
    assert update_similarity({"one": one, "other": other}, frozenset())["fusion"] == pytest.approx(1 / np.sqrt(2))


def test_statistics_are_left_out():
    updates = {"one": update({COUNTER: np.ones(3)}, genomics=1), "other": update({COUNTER: np.ones(3)}, genomics=1)}
    assert update_similarity(updates, frozenset({COUNTER})) == {}
