"""Timing of alternatives that take turns, so that a noisy machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable


def take_turns(steps: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each alternative by round; in every round each runs once."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(warm_up + rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(above: list[float], below: list[float]) -> str:
    """Median of the ratios round by round, and their quartiles, as text."""
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f}× ({low:.2f}-{high:.2f})"
