"""Statistics of survival where each patient has a curve of their own, not a multiple of one baseline."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from finetune.statistics.base import Column, Targets
from finetune.statistics.survival import RISKS, TIMES, SurvivalStatistics
from foundation.statistics.grid import Grid

_SURE = 1e-12


class DiscreteStatistics(SurvivalStatistics):
    """Of events, times in days, and survival to the end of intervals, `[patients, intervals]`.

    Where estimates are `[patients]`, of a model that ranks alone, they are log hazards.

    Args:
        event: label column, 1 where the event was seen.
        time: label column, days.
        horizons: days at which survival is predicted; patients are ranked by the hazard up to the last.
        edges: days at which intervals end.
        cuts: between risk groups.
        ranks: whether patients are ranked alone.
        times: grid.
        scores: grid of logarithms of the cumulative hazard.
    """

    def __init__(
        self,
        event: str,
        time: str,
        horizons: Sequence[int],
        edges: Sequence[int],
        cuts: Sequence[float] = (),
        ranks: bool = False,
        times: Grid = TIMES,
        scores: Grid = RISKS,
    ) -> None:
        super().__init__(event, time, horizons, None, times, scores, cuts)
        self.edges = tuple(edges)
        self.ranks = ranks

    @property
    def believes(self) -> bool:
        return not self.ranks

    def exact(self, targets: Targets, estimates: Column) -> Self:
        times = Grid.of_events(targets[self.event], targets[self.time], self.horizons)
        return self._with(self.ranks, times, Grid.exact(self.risk(estimates)))

    def ranking(self) -> Self:
        return self._with(True, self.times, self.scores)

    def risk(self, estimates: Column) -> Column:
        if estimates.ndim == 1:
            return estimates
        return log_cumulative_hazard(estimates, self.edges, self.horizons[-1])

    def survival(self, estimates: Column, days: Column) -> Column:
        """Predicted survival at days, `[days]` or `[patients, days]`: `[patients, days]`.

        Hazards are constant within an interval, and beyond the last one as in it.
        """
        return np.asarray(np.exp(-_cumulative_hazard(estimates, self.edges, days)))

    def _with(self, ranks: bool, times: Grid, scores: Grid) -> Self:
        horizons = [int(days) for days in self.horizons]
        return type(self)(self.event, self.time, horizons, self.edges, self.cuts, ranks, times, scores)


def log_cumulative_hazard(curve: Column, edges: Sequence[float], day: float) -> Column:
    """Up to a day, `[patients]`, of survival to the end of intervals, `[patients, intervals]`."""
    hazard = _cumulative_hazard(curve, edges, np.array([float(day)]))[:, 0]
    return np.asarray(np.log(np.maximum(hazard, _SURE)))


def _cumulative_hazard(curve: Column, edges: Sequence[float], days: Column) -> Column:
    """At days, `[days]` or `[patients, days]`: linear within intervals, and on as in the last one."""
    ends = np.array([0.0, *edges])
    hazard = np.concatenate([np.zeros((len(curve), 1)), -np.log(np.maximum(curve, _SURE))], axis=1)
    place = np.clip(np.searchsorted(ends, days, side="left"), 1, len(edges))
    place = np.broadcast_to(place, (len(curve), np.shape(days)[-1]))
    low, high = (np.take_along_axis(hazard, at, axis=1) for at in (place - 1, place))
    share = (days - ends[place - 1]) / (ends[place] - ends[place - 1])
    return np.asarray(low + share * (high - low))
