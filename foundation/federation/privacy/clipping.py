"""Clipping of whole updates to a length, fixed or following what sites send."""

import math

from foundation.errors import UserError

_INSIDE = 1e-6  # how far below the clip a clipped update lies, so that rounding cannot lift it above


class Fixed:
    """One length for the whole run.

    Args:
        norm: L2 norm, over all parameters that travel together, that an update may have.
    """

    def __init__(self, norm: float) -> None:
        if not 0 < norm < math.inf:
            raise UserError(f"privacy.clipping.norm: found {norm}; give a length above 0")
        self.norm = norm

    def vote_noise(self, noise_multiplier: float) -> float | None:
        """Standard deviation of the noise on the number of sites within the clip; None where nobody counts them."""
        return None

    def next(self, norm: float, within: float) -> float:
        """The next round's clip from this one's and the noisy share of sites that lay within it."""
        return norm


class Adaptive(Fixed):
    """A length that follows a quantile of the sites' norms (Andrew et al. 2021).

    Each site votes: +1/2 if its update lies within the clip, -1/2 if not. The noisy sum of votes moves the clip by
    geometric steps. Votes spend privacy, too, which the noise on updates makes up for: see `update_noise`.

    Args:
        norm: of the first round.
        quantile: share of sites whose updates are to lie within.
        rate: of the geometric steps.
        count_noise: standard deviation of the noise on the sum of votes; if None, as much as leaves the noise on
            updates 5.4 % larger than without votes.
    """

    def __init__(self, norm: float, quantile: float = 0.5, rate: float = 0.2, count_noise: float | None = None) -> None:
        super().__init__(norm)
        if not 0 < quantile < 1:
            raise UserError(f"privacy.clipping.quantile: found {quantile}; give a share between 0 and 1")
        if not rate > 0:
            raise UserError(f"privacy.clipping.rate: found {rate}; give a number above 0, such as 0.2")
        self.quantile = quantile
        self.rate = rate
        self.count_noise = count_noise

    def vote_noise(self, noise_multiplier: float) -> float:
        return noise_multiplier / (2 * math.sqrt(0.1)) if self.count_noise is None else self.count_noise

    def next(self, norm: float, within: float) -> float:
        return norm * math.exp(-self.rate * (within - self.quantile))


def update_noise(noise_multiplier: float, vote_noise: float | None) -> float:
    """The noise multiplier of updates that together with votes is worth `noise_multiplier` (Andrew et al. 2021, th. 1).

    Args:
        noise_multiplier: of a round.
        vote_noise: standard deviation of the noise on votes, whose sensitivity is 1/2; None without votes.

    Raises:
        UserError: if the votes alone would spend more.
    """
    if vote_noise is None:
        return noise_multiplier
    left = noise_multiplier**-2 - (2 * vote_noise) ** -2 if vote_noise > 0 else -1.0
    if left <= 0:
        raise UserError(
            f"privacy.clipping.count_noise: {vote_noise:g}; votes alone would spend what noise_multiplier "
            f"{noise_multiplier:g} allows, so give more than {noise_multiplier / 2:g}"
        )
    return float(left**-0.5)


def factor(norm: float, clip: float) -> float:
    """What to multiply an update of a norm with, so that it is no longer than the clip."""
    return 1.0 if norm <= clip else clip / norm * (1 - _INSIDE)


def bounded_vote(vote: float, deviation: float) -> float:
    """A site's noisy vote on the clip, within what an honest one is but once in a billion times; 0 for no number."""
    most = 0.5 + 7 * deviation
    return min(most, max(-most, vote)) if math.isfinite(vote) else 0.0
