"""The learning rate over a run."""

import math


def warmup_cosine(done: float, warmup: float, floor: float = 0.0) -> float:
    """Linear warm-up, then a cosine, as a share of the peak.

    Own, for transformers' schedules begin at a rate of nothing and count warm-up in whole steps: other curves.

    Args:
        done: share of the run's steps that are taken.
        warmup: share of them spent rising, from a hundredth on.
        floor: where the cosine ends.
    """
    if done < warmup:
        return max(done / warmup, 0.01)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))
