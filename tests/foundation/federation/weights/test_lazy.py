"""Arrays that wait for their round, in memory and beyond it on disk."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from foundation.errors import UserError
from foundation.federation.weights.lazy import DiskSpill, LazySafetensors


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


def test_weights_of_a_file_are_those_that_were_written(tmp_path: Path):
    kinds = (np.float32, np.float16, np.int64, np.uint8, np.bool_)
    written = {f"a.{n}": np.arange(12).reshape(3, 4).astype(kind) for n, kind in enumerate(kinds)}
    written |= {"one": np.array(3.5, np.float32), "none": np.zeros((0, 4), np.float32)}
    save_file(written, tmp_path / "weights.safetensors", {"note": "kept"})
    weights = LazySafetensors(tmp_path / "weights.safetensors")
    save_file({"other": np.ones(3)}, tmp_path / "later.safetensors")
    (tmp_path / "later.safetensors").replace(tmp_path / "weights.safetensors")
    assert set(weights) == set(written) and len(weights) == len(written)
    for name, value in written.items():
        np.testing.assert_array_equal(weights[name], value)
        assert weights[name].dtype == value.dtype and weights[name].flags.writeable
    with pytest.raises(KeyError):
        weights["other"]


def test_a_damaged_file_of_weights_is_one_line(tmp_path: Path):
    save_file({"a": np.ones(1000, np.float32)}, tmp_path / "weights.safetensors")
    content = (tmp_path / "weights.safetensors").read_bytes()
    for damaged in (content[:-1], content[:5], b"", content[:8] + b"x" + content[9:]):
        (tmp_path / "weights.safetensors").write_bytes(damaged)
        with pytest.raises(UserError, match=r"weights\.safetensors: not readable as weights .*restore it from a copy"):
            LazySafetensors(tmp_path / "weights.safetensors")
