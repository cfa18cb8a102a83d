"""What is agreed before masking: ranges, quantisation and thresholds, the same at the server and at every site."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch

import numpy as np
from flwr.app import ConfigRecord, RecordDict

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.weights.types import Arrays

RECORD = "secure"
HEAD = ("share", "trained", "reduced", "clipped")  # what each group's head holds, all within 0 to 1
_MODULUS_BITS = 32
MODULUS = 2**_MODULUS_BITS  # masks are uniform from 0 to below it (Flower's default)
_LARGEST_BITS = 30  # a quantised value passes through int32 at the site


@dataclass(frozen=True)
class Secure:
    """Settings of secure aggregation.

    Args:
        norm: L2 norm that a site's difference in a parameter group is clipped to. It is the range of quantisation as
            well, so no single weight is clipped further.
        norms: by parameter group, its own norm: groups move by lengths that differ tenfold, and one norm for all either
            takes the long ones' steps away or rounds the short ones.
        statistic_range: the largest change of a running statistic or counter, in units of the largest magnitude of
            that array before the round (of 1 where that is smaller). Larger changes are clipped and reported.
        statistics: patterns (fnmatch) of floating-point names that are running statistics, not trained weights.
        minimum_sites: below which no round starts. With two sites, each could tell the other's update from the mean.
        minimum_contributors: a group that fewer sites trained keeps its value.
        threshold: share of the sites that must stay to the end of a round; a majority at least.
        exchange_seconds: for each of the three exchanges of keys and shares; training has its own deadline.
        processes: that a site's round runs in at most, each with batches of its own: counts of patients travel as
            shares of what so many can train.

    Raises:
        UserError: naming the setting that cannot be.
    """

    norm: float = 10.0
    norms: Mapping[str, float] = field(default_factory=dict)
    statistic_range: float = 1000.0
    statistics: tuple[str, ...] = ("*.running_mean", "*.running_var")
    minimum_sites: int = 3
    minimum_contributors: int = 2
    threshold: float = 0.6
    exchange_seconds: float = 300.0
    processes: int = 1

    def __post_init__(self) -> None:
        for name in ("norm", "statistic_range", "exchange_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"secure.{name}: {getattr(self, name)}; give a number above 0")
        for group, norm in self.norms.items():
            if not 0 < norm < math.inf:
                raise UserError(f"secure.norms.{group}: {norm}; give a number above 0")
        if self.processes < 1:
            raise UserError(f"secure.processes: {self.processes}; give 1, or as many as the largest site trains in")
        if self.minimum_sites < 2:
            raise UserError(f"secure.minimum_sites: {self.minimum_sites}; masks need two sites at least")
        if not 1 <= self.minimum_contributors <= self.minimum_sites:
            raise UserError(f"secure.minimum_contributors: {self.minimum_contributors}; give 1 to minimum_sites")
        if not 0 < self.threshold <= 1:
            raise UserError(f"secure.threshold: {self.threshold}; give a share above 0 and up to 1")

    def norm_of(self, group: str) -> float:
        """That a group is clipped to."""
        return self.norms.get(group, self.norm)

    def at_least(self, norm: float) -> "Secure":
        """The same with room for a length in every group."""
        return replace(
            self, norm=max(self.norm, norm), norms={group: max(one, norm) for group, one in self.norms.items()}
        )

    def shares_needed(self, sites: int) -> int:
        """Sites that must stay to the end. A majority: the same shares cannot open two different sums."""
        return max(sites // 2 + 1, math.ceil(self.threshold * sites))


@dataclass(frozen=True)
class SecureOrder:
    """What an order for a masked update says beside config and weights.

    Args:
        most: largest count of samples that one site can have in a group in a round, such as steps times patients a
            step; public, so that counts travel as shares of it.
        groups: parameter groups that are summed; the others stay as they are.
        norms: as many as groups.
        statistic_range, statistics: see `Secure`.
    """

    most: int
    groups: tuple[str, ...]
    norms: tuple[float, ...]
    statistic_range: float
    statistics: tuple[str, ...]

    @classmethod
    def of(cls, settings: Secure, most: int, groups: Collection[str]) -> "SecureOrder":
        """The order of a round."""
        named = tuple(sorted(groups))
        norms = tuple(float(settings.norm_of(group)) for group in named)
        return cls(most, named, norms, settings.statistic_range, tuple(settings.statistics))

    def norm_of(self, group: str) -> float:
        """That a group is clipped to."""
        return self.norms[self.groups.index(group)]

    @classmethod
    def read(cls, content: RecordDict) -> "SecureOrder":
        """The record of a message, read."""
        record: Mapping[str, object] = content.config_records[RECORD]
        most, groups, norms, statistic_range, statistics = (record[name] for name in cls.__dataclass_fields__)
        assert isinstance(most, int) and isinstance(norms, list) and isinstance(statistic_range, float)
        assert isinstance(groups, list) and isinstance(statistics, list)
        lengths = tuple(map(float, norms))
        return cls(most, tuple(map(str, groups)), lengths, statistic_range, tuple(map(str, statistics)))

    def record(self) -> ConfigRecord:
        """As a record of a message."""
        return ConfigRecord(
            {
                "most": self.most,
                "groups": list(self.groups),
                "norms": list(self.norms),
                "statistic_range": self.statistic_range,
                "statistics": list(self.statistics),
            }
        )

    def names(self, before: Arrays) -> list[str]:
        """The parameters that are summed, in the order in which they travel."""
        return sorted(name for name in before if group_of(name) in self.groups)

    def is_statistic(self, name: str, before: np.ndarray) -> bool:
        """Whether an array is counted or measured rather than trained."""
        whole = not np.issubdtype(before.dtype, np.floating)
        return whole or any(fnmatch(name, pattern) for pattern in self.statistics)

    def range_of(self, name: str, before: np.ndarray) -> float:
        """The largest difference that a value of an array can report, either way."""
        if not self.is_statistic(name, before):
            return self.norm_of(group_of(name))
        largest = float(np.abs(before.astype(np.float64)).max(initial=1.0))
        return self.statistic_range * largest

    def bound(self, name: str, before: np.ndarray, sites: int, contributors: int, total: int) -> float:
        """The largest error that quantisation puts on a group's mean difference.

        A site rounds each value `share * difference / range` up or down to a multiple of 2/T, T being `levels(sites)`;
        the mean divides the sum of `contributors` such values by `total / most`. Sites that did not train send zero,
        which is exact. Rounding is at random without bias, so errors are mostly far smaller.

        Args:
            name: of the parameter.
            before: its value before the round, (any shape).
            sites: that the round started with.
            contributors: sites that trained the group.
            total: their samples in it.
        """
        return self.range_of(name, before) * (2 / levels(sites)) * contributors * self.most / total


def levels(sites: int) -> int:
    """Levels T of quantisation: the finest for which sums over the sites stay below the masks' modulus.

    A power of two, so that zero is a level and an untrained group stays exactly as it is.
    """
    return int(2 ** min(_LARGEST_BITS, _MODULUS_BITS - sites.bit_length()))


def refuse_single_updates(asker: str) -> UserError:
    """The error for what has to see one site's update, which is hidden: screening, robust rules, SCAFFOLD, cyclic."""
    return UserError(
        f"{asker}: needs each site's own update, and with secure aggregation the server sees sums only; "
        "set secure=null, or choose a strategy that averages (fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad)"
    )
