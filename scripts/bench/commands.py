"""Running the project's commands from a benchmark: as a user would, timed, quiet unless they fail."""

import subprocess
import sys
import time


def run(module: str, *overrides: str) -> float:
    """Runs `python -m module overrides` and returns its seconds; a failure ends the benchmark with its output."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *module.split(), *overrides], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"{module}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    print(f"{seconds:7.1f} s  python -m {module} {' '.join(overrides)}", flush=True)
    return seconds


def with_interval(interval: dict[str, float]) -> str:
    """A value with its 95 % interval."""
    return f"{interval['value']:.3f} ({interval['low']:.3f} – {interval['high']:.3f})"
