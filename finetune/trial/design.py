"""Sizes and powers of two-armed trials, by formula."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from finetune.trial.settings import number
from foundation.errors import UserError

_NORMAL = NormalDist()
_LARGEST = 1_000_000  # patients of a trial
_SMALLEST_ARM = 10  # patients, below which a mean of an arm is not normal and an arm may have no event


@dataclass(frozen=True)
class Design:
    """What a trial is to tell, and how surely.

    A trial's signal is the mean of its test statistic over the root of its patients: what one patient adds.

    Args:
        alpha: two-sided chance of an effect told where there is none.
        power: chance to tell the effect.
        allocation: share of patients who are treated.
    """

    alpha: float = 0.05
    power: float = 0.8
    allocation: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("power", self.power), ("allocation", self.allocation)):
            number(f"tool.{name}", value, "a number between 0 and 1", lambda share: 0 < share < 1)
        if self.power <= self.alpha:
            raise UserError(
                f"tool.power: found {self.power:g}, which tool.alpha ({self.alpha:g}) gives without an effect"
            )

    @property
    def critical(self) -> float:
        """Beyond which a test statistic tells an effect."""
        return _NORMAL.inv_cdf(1 - self.alpha / 2)

    @property
    def distance(self) -> float:
        """How far the mean of the test statistic must be from zero for the power."""
        return self.critical + _NORMAL.inv_cdf(self.power)

    def patients(self, signal: float) -> int:
        """How many patients reach the power.

        Raises:
            UserError: if they are too few for the formula, or more than any trial has.
        """
        size = (
            math.ceil((self.distance / signal) ** 2) if signal > self.distance / math.sqrt(2 * _LARGEST) else math.inf
        )
        smaller_arm = min(self.allocation, 1 - self.allocation) * size
        if size > _LARGEST:
            raise UserError(f"tool.effect: takes more than {_LARGEST:,} patients; plan a larger effect, or less power")
        if smaller_arm < _SMALLEST_ARM:
            raise UserError(
                f"tool.effect: takes {size} patients, {smaller_arm:.0f} of them in the smaller arm, too few for any "
                f"formula; plan a smaller effect, more power or a more even allocation, for {_SMALLEST_ARM} an arm"
            )
        return int(size)

    def power_of(self, patients: int, signal: float) -> float:
        """Chance that so many patients tell the effect."""
        shift = abs(signal) * math.sqrt(patients)
        return _NORMAL.cdf(shift - self.critical) + _NORMAL.cdf(-shift - self.critical)

    def signal_of_hazards(self, ratio: float, events: float) -> float:
        """Of a log-rank test, by the mean chance of an event over the arms (Schoenfeld 1981)."""
        return abs(math.log(ratio)) * math.sqrt(self.allocation * (1 - self.allocation) * events)

    def signal_of_risks(self, treated: float, others: float) -> float:
        """Of a difference in risk between the arms, by each arm's risk."""
        variance = treated * (1 - treated) / self.allocation + others * (1 - others) / (1 - self.allocation)
        return abs(treated - others) / math.sqrt(variance)
