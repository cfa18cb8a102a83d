"""What Gaussian noise spends: exact figures for releases that are composed without amplification by sampling.

In a federation of hospitals everybody takes part in every round, so there is no sampling to gain from. What remains,
one Gaussian mechanism after another, is itself a Gaussian mechanism, and its epsilon has a closed form: it is exact,
also where later noise depends on earlier releases (Dong, Roth and Su 2022, corollary 2; Balle and Wang 2018, theorem
8). Rényi accountants, Flower's among them, give an upper bound of it.
"""

import math
from dataclasses import dataclass

from scipy.special import log_ndtr

from foundation.errors import UserError
from foundation.federation.ledger.spent import Spent

REPLACED = 2.0  # sensitivity, where a site's update may become any other one within the clip

_LARGEST = 1e6
_STEPS = 200


@dataclass
class Accountant:
    """Counts releases of the Gaussian mechanism.

    Args:
        delta: at which epsilon is told.
        square: of the mean by which two neighbours' noise is apart, in standard deviations, over all releases so far.
        releases: so far.
    """

    delta: float
    square: float = 0.0
    releases: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise UserError(f"privacy.delta: found {self.delta}; give a number between 0 and 1, such as 1e-5")

    def compose(self, noise_multiplier: float, releases: int = 1) -> None:
        """Adds releases.

        Args:
            noise_multiplier: standard deviation of the noise, in units of the sensitivity.
            releases: how many.
        """
        self.square += releases / noise_multiplier**2
        self.releases += releases

    def epsilon(self, sensitivity: float = 1.0) -> float:
        """Epsilon of all releases together.

        Args:
            sensitivity: of the neighbours, in units of the one that noise multipliers count in: 1 if one site's update
                is there or zero, 2 if it may be any other.
        """
        return epsilon_of(sensitivity * math.sqrt(self.square), self.delta)

    def spent(self, sensitivity: float = 1.0) -> Spent:
        """As ledgers add it up; see `epsilon`."""
        return Spent(self.epsilon(sensitivity), self.delta) if self.releases else Spent()


def epsilon_of(mean: float, delta: float) -> float:
    """The least epsilon for which a Gaussian mechanism is (epsilon, delta)-private, rounded up in the last digits.

    Args:
        mean: sensitivity by standard deviation.
        delta: that goes with it.
    """
    if delta_of(mean, 0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_of(mean, high) > delta:
        low, high = high, 2 * high
        if high > _LARGEST:
            return math.inf
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if delta_of(mean, middle) > delta else (low, middle)
    return high


def noise_for(epsilon: float, delta: float) -> float:
    """The least standard deviation, in units of the sensitivity, that keeps both, rounded up.

    It is the inverse of `epsilon_of`, by bisection: more noise never spends more.
    """
    low, high = 0.0, 1.0
    while delta_of(1 / high, epsilon) > delta:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(1 / middle, epsilon) > delta else (low, middle)
    return high


def delta_of(mean: float, epsilon: float) -> float:
    """Phi(mean / 2 - epsilon / mean) - e^epsilon Phi(-mean / 2 - epsilon / mean) (Balle and Wang 2018, theorem 8)."""
    if mean == 0:
        return 0.0
    first = float(log_ndtr(mean / 2 - epsilon / mean))
    second = epsilon + float(log_ndtr(-mean / 2 - epsilon / mean))
    # Both are nearly equal where delta is small: the difference of logarithms keeps the digits.
    return math.exp(first) * -math.expm1(min(0.0, second - first))
