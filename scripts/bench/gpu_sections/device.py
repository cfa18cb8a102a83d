"""The device that is measured: its name, its peak, and the clock that waits for it."""

import gc
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from foundation.engine.throughput import device_peak


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Until the device has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(step: Callable[[], object], rounds: int, warm_up: int = 3) -> float:
    """Median seconds of a step, the device waited for once a few steps, as a training run does."""
    for _ in range(warm_up):
        step()
    together = max(1, rounds // 4)
    seconds = []
    for _ in range(max(1, rounds // together)):
        synchronize()
        started = time.perf_counter()
        for _ in range(together):
            step()
        synchronize()
        seconds.append((time.perf_counter() - started) / together)
    return statistics.median(seconds)


def matmul_flops(side: int) -> float:
    """FLOP/s of a square bf16 matrix product: what the device reaches where nothing else stands in the way."""
    one, other = (torch.randn(side, side, device=device(), dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: one @ other, 12)


def peak_flops() -> float | None:
    """Dense bf16 FLOP/s by the maker's data sheet; None where none is known."""
    return device_peak(device())


def peak_memory() -> float:
    """Most bytes held by this process: of the GPU's memory by tensors; on the processor, of memory altogether."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def free() -> None:
    """Gives back what is referred to no more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def described() -> dict[str, Any]:
    """The machine, for the table's head and the JSON."""
    if not torch.cuda.is_available():
        return {"device": "cpu", "devices": 1, "torch": torch.__version__}
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "devices": torch.cuda.device_count(),
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
