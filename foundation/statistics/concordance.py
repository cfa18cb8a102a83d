"""How well a score ranks survival: concordance and time-dependent areas, from a `SurvivalTable` alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import Floats, Integers, Table, ratio

_BLOCK = 1 << 23  # cells at a time
_SPARSE = 200  # comparing two cells is so much faster than a cell's share of running sums


@dataclass(frozen=True, eq=False)
class PairSums(Table):
    """Concordant and all pairs. Those of hospitals add up to what ranks patients within hospitals alone.

    Attributes:
        concordant: a tie in score counts half, `[replicates]`.
        pairs: `[replicates]`.
    """

    summed: ClassVar[tuple[str, ...]] = ("concordant", "pairs")
    concordant: Floats
    pairs: Floats

    @classmethod
    def empty(cls, replicates: int = 0) -> "PairSums":
        return cls(np.zeros(1 + replicates), np.zeros(1 + replicates))

    def c(self) -> Floats:
        """Share of pairs that are concordant: `[replicates]`."""
        return ratio(self.concordant, self.pairs)


def harrell_c(table: SurvivalTable) -> Floats:
    """Harrell's C: `[replicates]`; see `harrell_pairs`."""
    return harrell_pairs(table).c()


def harrell_pairs(table: SurvivalTable) -> PairSums:
    """What Harrell's C is the share of; summed over hospitals, the C stratified by hospital.

    Pairs: an event, and who was still followed at its time or censored then; two events at one time are no pair. A tie
    in score counts half (Harrell, Lee & Mark 1996).
    """
    return _blockwise(table, lambda part: np.ones((len(part.counts), len(part.times))))


def uno_c(table: SurvivalTable, tau: float = math.inf) -> Floats:
    """Uno's C: the same pairs of events before `tau`, each weighed by the censoring weights G(t-)^-2: `[replicates]`.

    G is the Kaplan–Meier curve of censoring just before the event (Uno et al. 2011), of these patients.
    """

    def weights(part: SurvivalTable) -> Floats:
        before = _before(part.censoring())
        return np.nan_to_num(np.where(part.times.values < tau, ratio(1.0, before**2), 0.0))

    return _blockwise(table, weights).c()


def harrell_c_bounds(table: SurvivalTable) -> tuple[Floats, Floats]:
    """What Harrell's C of the times and scores before rounding cannot leave: `[replicates]` each.

    Pairs within a cell of time may have been either way round; pairs within a cell of score, likewise.
    """
    bounds = [_bounds(table.row(replicate)) for replicate in range(len(table.counts))]
    low, high = zip(*bounds, strict=True)
    return np.array(low), np.array(high)


def time_dependent_auc(table: SurvivalTable, horizon: float) -> Floats:
    """Cumulative/dynamic AUC: events by the horizon, weighed by 1 / G(t-), against all followed beyond: `[replicates]`.

    Uno et al. 2007; a tie in score counts half.
    """
    cell = table.times.up_to(horizon)
    weights = ratio(1.0, _before(table.censoring()))[:, :cell, None]
    cases = np.nan_to_num(table.counts[:, 1, :cell] * weights).sum(axis=1)
    controls = table.counts[:, :, cell:].sum(axis=(1, 2))
    below = np.cumsum(controls, axis=1) - controls
    return ratio((cases * (below + controls / 2)).sum(axis=1), cases.sum(axis=1) * controls.sum(axis=1))


def _before(curve: Floats) -> Floats:
    """The curve just before each time."""
    return np.pad(curve, ((0, 0), (1, 0)), constant_values=1.0)[:, :-1]


def _blockwise(table: SurvivalTable, weights: Callable[[SurvivalTable], Floats]) -> PairSums:
    """Pairs of all replicates, of a few at a time: what counts them is as large as the table itself.

    Args:
        table: `[replicates, 2, times, scores]`.
        weights: by time of the event, `[replicates, times]`, of a part of the replicates.
    """
    size = max(1, _BLOCK // table.counts[0].size)
    cells = table.counts.any(axis=0).reshape(-1)
    few = cells.sum() ** 2 < _SPARSE * table.counts[0].size
    parts = []
    for start in range(0, len(table.counts), size):
        part = SurvivalTable(table.times, table.scores, table.counts[start : start + size])
        parts.append((_pairs_of_cells if few else _pairs_on_grid)(part, weights(part)))
    concordant, pairs = (np.concatenate(column) for column in zip(*parts, strict=True))
    return PairSums(concordant, pairs)


def _pairs_on_grid(table: SurvivalTable, weights: Floats) -> tuple[Floats, Floats]:
    """By running sums over all cells: the time grows with the grid."""
    events = table.counts[:, 1]
    partners = table.at_risk() - events  # but for those who have an event at the same time
    below = np.cumsum(partners, axis=2) - partners
    concordant = (events * (2 * below + partners)).sum(axis=2)  # twice, so that counts stay integers
    pairs = events.sum(axis=2) * partners.sum(axis=2)
    return (weights * concordant).sum(axis=1) / 2, (weights * pairs).sum(axis=1)


def _pairs_of_cells(table: SurvivalTable, weights: Floats) -> tuple[Floats, Floats]:
    """By comparing those cells alone that anybody is in: a fine grid of few patients is mostly empty."""
    kind, time, score = np.nonzero(table.counts.any(axis=0))
    here = table.counts[:, kind, time, score].astype(np.float64)
    events = kind == 1
    before = (time[events][:, None] < time) | ((time[events][:, None] == time) & (kind == 0))
    won = (score[events][:, None] > score) + 0.5 * (score[events][:, None] == score)
    left = here[:, events] * weights[:, time[events]]
    return ((left @ (before * won)) * here).sum(axis=1), ((left @ before.astype(np.float64)) * here).sum(axis=1)


def _bounds(table: SurvivalTable) -> tuple[float, float]:
    """Of one replicate: pairs that rounding left unsure as discordant, and as concordant."""
    counts = table.counts[0]
    events = counts[1]
    win, tie, loss = _pair_kinds(events, table.at_risk()[0] - counts.sum(axis=0))
    # Censored in the event's cell: a pair only if the event came first. Two events in a cell: either way round.
    here_win, here_tie, here_loss = _pair_kinds(events, counts[0])
    by_time = events.sum(axis=1)
    twin = int((by_time * (by_time - 1) // 2).sum())
    against, favour = here_tie + here_loss + twin, here_win + here_tie + twin
    pairs = win + tie + loss
    return (
        win / (pairs + against) if pairs + against else math.nan,
        (win + tie + favour) / (pairs + favour) if pairs + favour else math.nan,
    )


def _pair_kinds(events: Integers, partners: Integers) -> tuple[int, int, int]:
    """Pairs in which the partner's score lies below, in the same cell, and above; arguments are `[times, scores]`."""
    below = np.cumsum(partners, axis=1) - partners
    above = partners.sum(axis=1, keepdims=True) - below - partners
    return int((events * below).sum()), int((events * partners).sum()), int((events * above).sum())
