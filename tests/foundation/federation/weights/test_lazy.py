"""Arrays that wait for their round, in memory and beyond it on disk."""

from pathlib import Path

import numpy as np

from foundation.federation.weights.lazy import DiskSpill


def test_what_lies_in_memory_keeps_nothing_else_there(tmp_path: Path):
    message = np.arange(1000, dtype=np.float32)
    spill = DiskSpill(tmp_path / "spill", budget=100)
    spill.put("bias", message[:2])
    assert spill.budget == 92
    assert not np.shares_memory(spill["bias"], message)
    assert not (tmp_path / "spill").exists()


def test_what_is_beyond_the_budget_lies_on_disk_and_comes_back_to_the_bit(tmp_path: Path):
    spill = DiskSpill(tmp_path / "spill", budget=100)
    weight = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    spill.put("weight", weight)
    assert spill.budget == 100
    assert len(list((tmp_path / "spill").iterdir())) == 1
    assert np.array_equal(spill["weight"], weight)
    spill.clear()
    assert not (tmp_path / "spill").exists()
    assert len(spill) == 0
