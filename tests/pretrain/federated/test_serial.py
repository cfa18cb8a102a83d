"""The sites in one process, end to end: masked rounds give what open ones do."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import warm

STEPS, BATCH, NORM = 1, 8, 100.0


def trained(cohort: Path, output: Path, *more: str) -> dict[str, np.ndarray]:
    settings = [
        *("federation=serial", "experiment=demo", "rounds=1"),
        *(f"steps_per_round={STEPS}", f"data.batch_size={BATCH}", f"data.folder={cohort}", f"output={output}", *more),
    ]
    done = warm.run("pretrain.federated", settings, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(output / "rounds" / "round_0001.safetensors")


@pytest.mark.process
def test_masked_rounds_give_the_weights_of_open_ones(small_cohort: Path, tmp_path: Path):
    plain = trained(small_cohort, tmp_path / "plain")
    start = load_file(tmp_path / "plain" / "rounds" / "round_0000.safetensors")
    masked = trained(small_cohort, tmp_path / "masked", "secure=secagg_plus", f"secure.norm={NORM}")
    several = [name for name in plain if name.startswith("encoder.fusion.") and plain[name].dtype.kind == "f"]
    assert several
    for name in several:
        np.testing.assert_allclose(masked[name], plain[name], atol=1e-5, err_msg=name)
    assert any(not np.array_equal(plain[name], start[name]) for name in several), "something was learnt at all"
