"""The GPU benchmark at toy size, as a person runs it: every line runs where no GPU is at hand."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEASURED = {
    "mfu": {"step_seconds", "patients_per_second", "flops_per_patient", "flops_per_second", "of_matmul"},
    "memory": {"peak_bytes", "step_seconds"},
    "features": {"tiles_per_second", "tiles_per_second_alone"},
    "latency": {"p50_ms", "p95_ms"},
}
BASELINES = {
    "mfu": ("bare loop, eager", "python -m pretrain, compiled"),
    "memory": ("DDP", "ZeRO-2"),
    "data": ("JPEG files, plain Dataset", "packed tiles"),
    "features": ("timm's model over JPEG files", "image tower over packed tiles, compiled"),
    "latency": ("bare model", "TorchServe"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    folder = tmp_path_factory.mktemp("gpu")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/bench/gpu.py"), "--toy", "--json", str(folder / "gpu.json")],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "gpu.json").read_text()), done.stdout


@pytest.mark.process
@pytest.mark.slow
def test_every_section_gives_numbers_or_says_why_not(report):
    content, _ = report
    assert content["toy"] and not content["failures"]
    assert content["sections"].keys() == BASELINES.keys()
    for name, rows in content["sections"].items():
        for row in rows:
            if "left_out" in row:
                assert row == {"name": "FSDP", "left_out": "needs CUDA"}
                continue
            assert row.keys() >= MEASURED.get(name, set()), row
            numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
            assert numbers and all(math.isfinite(value) and value > 0 for value in numbers.values()), row


@pytest.mark.process
@pytest.mark.slow
def test_every_figure_stands_beside_its_baseline(report):
    content, _ = report
    for section, pair in BASELINES.items():
        assert set(pair) <= {row["name"] for row in content["sections"][section]}
    names = [row["name"] for row in content["sections"]["memory"]]
    assert names == ["DDP", "ZeRO-1", "ZeRO-2", "ZeRO-3", "ZeRO-3, offloaded", "FSDP"]
    sources = [row["name"] for row in content["sections"]["data"]]
    assert "packed patients" in sources and "training, python -m pretrain, compiled" in sources


@pytest.mark.process
@pytest.mark.slow
def test_operations_are_counted_alike_by_the_benchmark_and_by_the_run(report):
    content, _ = report
    rows = content["sections"]["mfu"]
    path = next(row for row in rows if row["name"].startswith("python -m pretrain"))
    # The same patients; what is masked, and so predicted, is drawn anew in each step.
    assert path["counted_by_the_run"] == pytest.approx(path["flops_per_patient"], rel=0.05)
    assert "no peak" in path["mfu_left_out"]


@pytest.mark.process
@pytest.mark.slow
def test_a_table_a_section_and_the_path_last_are_printed(report):
    _, printed = report
    lines = printed.splitlines()
    assert lines[-1].endswith("gpu.json")
    assert lines[-2] == "base: no MFU, no peak is known for this device (bar: at least 45%, aimed at 55%)"
    assert [line.split()[0] for line in lines if line.startswith(tuple(BASELINES))] == list(BASELINES)
