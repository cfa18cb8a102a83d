"""Runs killed with SIGKILL at random moments, under every trainer; `scripts/bench/kill_training.py` says how."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "kill_training.py"


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("trainer", ["cpu", "ddp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3"])
def test_a_run_killed_at_random_moments_ends_as_one_left_alone(trainer: str):
    command = [sys.executable, str(SCRIPT), "--trainers", trainer, "--kills", "3", "--steps", "16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 0 times" not in done.stdout
