"""Absolute bounds of what comes beside trained weights: control variates, running statistics, counters.

Relative bounds compare sites, and need three of them; these hold for each site by itself.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.groups import SPREADS, group_of
from foundation.federation.weights.aggregation import norm_of
from foundation.federation.weights.types import Arrays

_LARGEST = 1e12  # of a running statistic
_VIEWS = 16  # as often at most as patients train, a counter counts: several views, and a cached gradient, count each


def check_names(site: str, previous: Iterable[str], names: Iterable[str]) -> None:
    """Holds an update to parameters of the run, before it takes room on a disk.

    Raises:
        UserError: naming site and parameter.
    """
    for name in set(names) - set(previous):
        raise UserError(f"{site}: {name}: no parameter that this run federates; install one release everywhere")


def check_control(site: str, previous: Arrays, control: Arrays, longest: float | None, asked: bool) -> dict[str, float]:
    """Checks the change of a site's control variate (SCAFFOLD); the L2 norm by group.

    Args:
        site: whose.
        previous: the weights that the round started from, whose names and shapes it has.
        control: what came.
        longest: that a group's may be; any if None.
        asked: whether the run has control variates.

    Raises:
        UserError: naming site, parameter and what came.
    """
    if control and not asked:
        raise UserError(f"{site}: control variates, for which this run does not ask; install one release everywhere")
    check_names(f"{site}: control variate", previous, control)
    squares: dict[str, float] = {}
    for name, value in control.items():
        if value.shape != previous[name].shape or value.dtype.kind != "f":
            raise UserError(f"{site}: control variate of {name}: none of this run; install one release everywhere")
        norm = norm_of([value])
        if not math.isfinite(norm):
            raise UserError(f"{site}: control variate of {name}: no finite numbers; train with a lower learning rate")
        squares[group_of(name)] = squares.get(group_of(name), 0.0) + norm**2
    norms = {group: math.sqrt(square) for group, square in squares.items()}
    for group, norm in norms.items():
        if longest is not None and norm > longest:
            raise UserError(
                f"{site}: {group}: a control variate of length {norm:.3g}; screening.longest is {longest:g}"
            )
    return norms


def check_buffer(
    where: str, name: str, before: NDArray[np.generic], value: NDArray[np.generic], most: int | None
) -> None:
    """Checks the change of a running statistic or counter.

    Args:
        where: of the update, for the error.
        name: of the buffer.
        before: its value when the round began.
        value: the change.
        most: largest count of patients that a site can train on in a round; any if None.

    Raises:
        UserError: if a counter moves by more than the round can count, or a statistic ends where none can be.
    """
    if before.dtype.kind in "iu":
        moved = np.abs(value.astype(np.float64)).max(initial=0.0)
        if most is not None and moved > _VIEWS * max(1, most):
            raise UserError(f"{where}: a counter that moved by {moved:.3g}, at most {_VIEWS * most} can be counted")
        return
    if before.dtype.kind != "f":
        return
    after = before.astype(np.float64) + value.astype(np.float64)
    if np.abs(after).max(initial=0.0) > _LARGEST:
        raise UserError(f"{where}: a running statistic beyond {_LARGEST:g}; look at that site's units")
    if name.endswith(SPREADS) and after.min(initial=0.0) < 0:
        raise UserError(f"{where}: a variance below zero")
