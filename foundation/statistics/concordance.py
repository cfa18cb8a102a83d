"""How well a score ranks survival: concordance and time-dependent areas, from a `SurvivalTable` alone."""

import math
from collections.abc import Callable

import numpy as np

from foundation.statistics.survival import SurvivalTable
from foundation.statistics.table import Floats, Integers, ratio

_BLOCK = 1 << 23  # cells at a time


def harrell_c(table: SurvivalTable) -> Floats:
    """Harrell's C: `[replicates]`.

    Pairs: an event, and who was still followed at its time or censored then; two events at one time are no pair. A tie
    in score counts half (Harrell, Lee & Mark 1996).
    """
    return _blockwise(table, lambda part: _concordance(part, np.ones((len(part.counts), len(part.times)))))


def uno_c(table: SurvivalTable, tau: float = math.inf) -> Floats:
    """Uno's C: the same pairs of events before `tau`, each weighed by the censoring weights G(t-)^-2: `[replicates]`.

    G is the Kaplan–Meier curve of censoring just before the event (Uno et al. 2011), of these patients.
    """

    def value(part: SurvivalTable) -> Floats:
        before = _before(part.censoring())
        weights = np.where(part.times.values < tau, ratio(1.0, before**2), 0.0)
        return _concordance(part, np.nan_to_num(weights))

    return _blockwise(table, value)


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


def _blockwise(table: SurvivalTable, value: Callable[[SurvivalTable], Floats]) -> Floats:
    """A figure of all replicates, of a few at a time: what it builds on the way is as large as the table itself."""
    size = max(1, _BLOCK // table.counts[0].size)
    parts = [
        value(SurvivalTable(table.times, table.scores, table.counts[start : start + size]))
        for start in range(0, len(table.counts), size)
    ]
    return np.concatenate(parts)


def _concordance(table: SurvivalTable, weights: Floats) -> Floats:
    """Weighed share of concordant pairs; weights by time of the event, `[replicates, times]`."""
    events, partners = _pairs(table)
    below = np.cumsum(partners, axis=2) - partners
    concordant = (events * (2 * below + partners)).sum(axis=2)  # twice, so that counts stay integers
    pairs = events.sum(axis=2) * partners.sum(axis=2)
    if (weights == 1).all():
        return ratio(concordant.sum(axis=1), 2 * pairs.sum(axis=1))
    return ratio((weights * concordant).sum(axis=1), 2 * (weights * pairs).sum(axis=1))


def _pairs(table: SurvivalTable) -> tuple[Integers, Integers]:
    """Events by time and score, and their partners: all at risk but for those who have an event at the same time."""
    return table.counts[:, 1], table.at_risk() - table.counts[:, 1]


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
