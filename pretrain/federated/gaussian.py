"""The Gaussian mechanism: noise against privacy, exactly.

mu is the sensitivity over the standard deviation of the noise. It composes: the square root of the sum of squares.
"""

import math
from collections.abc import Callable

import torch


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Exact delta of the Gaussian mechanism (Balle and Wang 2018, theorem 8).

    Args:
        epsilon: from 0 on.
        mu: sensitivity over standard deviation of the noise.
    """
    likely, rare = (
        float(torch.special.log_ndtr(torch.tensor(value, dtype=torch.float64)))
        for value in (mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu)
    )
    return max(0.0, -math.exp(likely) * math.expm1(min(0.0, epsilon + rare - likely)))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The least epsilon at which the mechanism has that delta, rounded up."""
    return _least(lambda epsilon: gaussian_delta(epsilon, mu) <= delta)


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The largest sensitivity over noise that keeps both, rounded down."""
    return 1 / _least(lambda noise: noise > 0 and gaussian_delta(epsilon, 1 / noise) <= delta)


def _least(enough: Callable[[float], bool]) -> float:
    """The least value from 0 on that is enough, where all larger ones are."""
    low, high = 0.0, 1.0
    if enough(low):
        return low
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
