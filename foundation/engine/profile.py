"""Profile of a step: a table of its phases and operators, and a trace to look at."""

import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.profiler import ProfilerActivity, profile, schedule

from foundation.files import write_text

_WARM_UP = 3
_PHASES = ("data", "forward", "backward", "optimizer and rest")


class Profile(Callback):
    """Watches some steps early in a run, and writes `profile.txt` and `trace.json` (for chrome://tracing or Perfetto).

    Lightning's profilers sum up its hooks over a run; this one gives medians of a step's phases, the device waited for.

    Args:
        folder: of the run.
        steps: to watch.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder = folder
        self.steps = steps
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._at = 0.0
        self._profiler: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        plan = schedule(wait=0, warmup=_WARM_UP, active=self.steps, repeat=1)
        self._profiler = profile(activities=kinds, schedule=plan)
        self._profiler.start()
        self._at = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        self._mark("data")

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        self._mark("forward")

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._mark("backward")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._mark("optimizer and rest")
        if self._profiler is None:
            return
        self._profiler.step()
        if len(self._seconds["data"]) >= _WARM_UP + self.steps:
            self._write()
        self._at = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write()

    def _mark(self, phase: str) -> None:
        if self._profiler is None:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._seconds[phase].append(now - self._at)
        self._at = now

    def _write(self) -> None:
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        medians = {phase: statistics.median(self._seconds[phase][_WARM_UP:] or [0.0]) for phase in _PHASES}
        total = sum(medians.values()) or 1.0
        lines = [f"{'phase':24}{'median ms':>12}{'share':>8}"]
        lines += [f"{phase:24}{1000 * value:12.2f}{value / total:8.1%}" for phase, value in medians.items()]
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=by, row_limit=25)
        write_text(self.folder / "profile.txt", "\n".join(lines) + "\n\n" + table + "\n")
        profiler.export_chrome_trace(str(self.folder / "trace.json"))
