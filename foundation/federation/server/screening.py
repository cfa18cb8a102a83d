"""Screening of updates before they count: what is no update of this model, no number, or far too long.

Screening catches accidents: a site whose training blew up, another release, a broken array. Against a site that means
harm it is no more than a bound; that is what the robust strategies are for.
"""

import math
from collections.abc import Mapping
from statistics import median

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.server.bounds import check_buffer, check_names
from foundation.federation.weights.aggregation import norm_of
from foundation.federation.weights.types import Arrays

Norms = Mapping[str, float]


class Screening:
    """What an update must hold to.

    Args:
        factor: by group, as many times as long as the median of the other sites' updates one may be; any if None.
        longest: L2 norm of a group's update, and of its control variate, that none may exceed, whatever the others
            send; any if None. Running statistics and counters have bounds of their own (`bounds`).
        least: sites that must have trained a group for their lengths to be compared.
        processes: that a site's round runs in at most, each with batches of its own, gradients that it accumulates
            counted as more of them: a site tells its own count of patients, which weighs its update.
    """

    def __init__(
        self, factor: float | None = 100.0, longest: float | None = 1e6, least: int = 3, processes: int = 1
    ) -> None:
        if factor is not None and not factor > 1:
            raise UserError(f"screening.factor: found {factor}; give more than 1, or null for any length")
        if longest is not None and not longest > 0:
            raise UserError(f"screening.longest: found {longest}; give more than 0, or null for any length")
        if least < 3:
            raise UserError(f"screening.least: found {least}; of two sites nobody can tell which one stands out")
        if processes < 1:
            raise UserError(f"screening.processes: found {processes}; give as many as the largest site trains in")
        self.factor = factor
        self.longest = longest
        self.least = least
        self.processes = processes

    def check(
        self,
        site: str,
        previous: Arrays,
        difference: Arrays,
        samples: Mapping[str, int] | None = None,
        most: int | None = None,
        buffers: frozenset[str] = frozenset(),
    ) -> dict[str, float]:
        """Checks one update by itself, an array at a time; the L2 norm of each group's difference.

        Running statistics and counters have no part in a norm.

        Args:
            site: whose.
            previous: the weights that the round started from.
            difference: to them; a name that is missing has not changed.
            samples: by group, patients that trained it; not checked if None.
            most: largest count that a site can have in a round (`RunPlan.most_samples`); any if None.
            buffers: names of running statistics and counters.

        Raises:
            UserError: naming site, parameter and what was found.
        """
        squares: dict[str, float] = {}
        check_names(site, previous, difference)
        for name, value in difference.items():
            _check_array(f"{site}: {name}", previous[name], value)
            group = group_of(name)
            squares.setdefault(group, 0.0)
            if value.dtype.kind == "f":
                norm = norm_of([value])
                _check_finite(f"{site}: {name}", norm, value)
                squares[group] += 0.0 if name in buffers else norm**2
            if name in buffers or value.dtype.kind != "f":
                check_buffer(f"{site}: {name}", name, previous[name], value, most)
        norms = {group: math.sqrt(square) for group, square in squares.items()}
        if samples is not None:
            _check_samples(site, samples, most, {group_of(name) for name in previous})
        for group, norm in norms.items():
            if self.longest is not None and norm > self.longest:
                raise UserError(
                    f"{site}: {group}: an update of length {norm:.3g}; screening.longest is {self.longest:g}"
                )
        return norms

    def outliers(self, norms: Mapping[str, Norms]) -> dict[str, str]:
        """Sites whose update stands out from the others', once all have arrived.

        Args:
            norms: by site and group; a site has no norm of a group that it did not change.

        Returns:
            By site, the reason.
        """
        reasons: dict[str, str] = {}
        if self.factor is None:
            return reasons
        for group in sorted({group for by_group in norms.values() for group in by_group}):
            lengths = {site: by_group[group] for site, by_group in norms.items() if by_group.get(group)}
            if len(lengths) < self.least:
                continue
            for site, length in lengths.items():
                usual = median(other for name, other in lengths.items() if name != site)
                if site not in reasons and length > self.factor * usual:
                    reasons[site] = (
                        f"{site}: {group}: an update {length / usual:.3g} times as long as the other sites' median "
                        f"({length:.3g} to {usual:.3g}); screening.factor is {self.factor:g}"
                    )
        return reasons


def _check_array(where: str, before: NDArray[np.generic], value: NDArray[np.generic]) -> None:
    if value.dtype != before.dtype:
        raise UserError(f"{where}: an array of {value.dtype}, {before.dtype} expected; install one release everywhere")
    if value.shape != before.shape:
        raise UserError(f"{where}: shape {value.shape}, {before.shape} expected; train from the config that was sent")


def _check_samples(site: str, samples: Mapping[str, int], most: int | None, groups: set[str]) -> None:
    for group, count in samples.items():
        if group not in groups:
            raise UserError(f"{site}: samples of {group}: no group that this run federates; install one release")
        if count < 0 or (most is not None and count > most):
            raise UserError(
                f"{site}: samples of {group}: {count}, 0 to {most} can be; they weigh the update, and a site that "
                "trains in several processes needs screening.processes"
            )


def _check_finite(where: str, norm: float, value: NDArray[np.generic]) -> None:
    if not math.isfinite(norm):
        kind = "NaN" if np.isnan(np.asarray(value, dtype=np.float64)).any() else "infinite numbers"
        raise UserError(f"{where}: {kind} in the update; train there with a lower learning rate")
