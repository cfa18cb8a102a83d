"""Sequential tests by betting: alarms that may be looked at whenever one likes, from sums that hospitals add.

Of quantities x in [0, 1] whose mean is to be at most a declared bound q, whatever came before, a stake s of one's
fortune on "more" leaves the factor 1 - s + s x / q of it: a fair game at most, so that a fortune of 1 ever reaches
1 / a with chance a at most (Ville 1939; Waudby-Smith & Ramdas 2024, section 4). The logarithm of the fortune is a sum
over patients: hospitals add theirs, and the pooled test is the one of all patients in one place.

Nobody knows how large a change will be, nor when it begins. The fortune is therefore shared out: over several stakes,
and over the looks at which a game begins, of which the k-th gets 1 / (k (k + 1)) and nothing is played before (a
mixture of martingales is one; Shin, Ramdas & Rinaldo 2023 on games that begin at each time). A change that comes late
is then not hidden by what was lost before it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import UserError
from foundation.statistics.table import Floats, Integers, Table, columns

STAKES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)  # of the fortune; each has an equal share of it


@dataclass(frozen=True, eq=False)
class BettingTable(Table):
    """What the patients of one look leave of a fortune.

    Attributes:
        bound: that the mean is held to, above 0 and at most 1.
        counts: patients, `[1, 1]`.
        sums: of the quantity, `[1, 1]`.
        growth: logarithm of the factor by which each stake has grown, `[1, stakes]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("counts", "sums", "growth")
    bound: float
    counts: Integers
    sums: Floats
    growth: Floats

    @classmethod
    def empty(cls, bound: float) -> "BettingTable":
        """Of nobody.

        Raises:
            UserError: if no mean could break the bound, or any would.
        """
        if not 0 < bound <= 1:
            raise UserError(f"betting: a bound of {bound:g} is not above 0 and at most 1; declare another")
        return cls(float(bound), np.zeros((1, 1), dtype=np.int64), np.zeros((1, 1)), np.zeros((1, len(STAKES))))

    @classmethod
    def from_patients(cls, values: ArrayLike, bound: float) -> "BettingTable":
        """Of a quantity from 0 to 1, `[patients]`.

        Raises:
            UserError: if a value is outside 0 to 1.
        """
        start = cls.empty(bound)
        (x,) = columns(len(np.atleast_1d(np.asarray(values))), values=np.atleast_1d(np.asarray(values, dtype=float)))
        if ((x < 0) | (x > 1)).any():
            raise UserError("betting: a value is outside 0 to 1; scale what is bet on")
        stakes = np.asarray(STAKES)
        growth = np.log1p(stakes * (x[:, None] / bound - 1)).sum(axis=0)
        return start.filled({"counts": np.array([[len(x)]]), "sums": np.array([[x.sum()]]), "growth": growth[None]})

    def mean(self) -> float:
        """Of the quantity; NaN of nobody."""
        return float(self.sums[0, 0] / self.counts[0, 0]) if self.counts[0, 0] else math.nan


def log_fortunes(looks: Sequence[BettingTable]) -> Floats:
    """Logarithm of the fortune after each look, `[looks]`.

    Args:
        looks: in order; all that is known of a look goes into its one table, for a game begins between looks.
    """
    if not looks:
        return np.zeros(0)
    growth = np.concatenate([look.growth for look in looks])
    return np.array([_log_fortune(growth[: place + 1]) for place in range(len(looks))])


def _log_fortune(growth: Floats) -> float:
    """After the last of `[looks, stakes]`: every game that has begun, and what is kept for later ones."""
    begun = np.arange(1, len(growth) + 1)
    since = np.cumsum(growth[::-1], axis=0)[::-1]  # from each begin until now
    shares = -np.log(begun * (begun + 1.0))[:, None] - math.log(growth.shape[1])
    parts = np.append((since + shares).ravel(), -math.log(len(growth) + 1.0))
    return float(np.logaddexp.reduce(parts))


def alarms_at(looks: Sequence[BettingTable], level: float) -> int | None:
    """The first look, from 0, at which the fortune has reached 1 / level; None where none has.

    Where the mean is within the bound, the chance that there ever is one is at most the level.
    """
    reached = np.flatnonzero(log_fortunes(looks) >= -math.log(level))
    return int(reached[0]) if len(reached) else None


def anytime_p(looks: Sequence[BettingTable]) -> float:
    """The smallest level at which an alarm has been raised so far; a p-value at every look alike."""
    fortunes = log_fortunes(looks)
    return min(1.0, math.exp(-float(fortunes.max()))) if len(fortunes) else 1.0
