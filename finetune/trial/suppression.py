"""Small counts hidden from a table with totals, so that none can be told by subtraction."""

import numpy as np
from numpy.typing import NDArray

from foundation.statistics.table import Floats

Mask = NDArray[np.bool_]


def hidden_cells(counts: NDArray[np.int64], smallest: int) -> Mask:
    """Which cells of a table `[rows, columns]` are not told: small ones, and others by which sums would tell them.

    A cell of 1 to `smallest` - 1 is hidden. A line (row or column) whose hidden cells are one, or come to less than
    `smallest`, hides its smallest shown cell as well, a zero where there is no other; so does the row of a small cell
    that all sums together would tell.

    Args:
        counts: without totals, which are told.
        smallest: count that is told as it is.
    """
    small = (counts > 0) & (counts < smallest)
    hidden = small.copy()
    while True:
        lines = [*zip(counts, hidden, strict=True), *zip(counts.T, hidden.T, strict=True)]
        weak = [(line, mask) for line, mask in lines if _gives_away(line, mask, smallest)]
        if not weak:
            told = np.argwhere(_determined(hidden) & small)
            weak = [(counts[row], hidden[row]) for row, _ in told if not hidden[row].all()]
            weak += [(counts[:, column], hidden[:, column]) for _, column in told if not hidden[:, column].all()]
        if not weak:
            return hidden
        line, mask = weak[0]
        mask[min(np.flatnonzero(~mask), key=lambda place: (line[place] == 0, line[place]))] = True


def hidden_sums(sums: Floats, counts: NDArray[np.int64], hidden: Mask, free: Mask, smallest: int) -> Mask:
    """Which of several sums over the same patients are not told: small ones, and others from which these would follow.

    Args:
        sums: which kinds of patients each counts, `[sums, kinds]`.
        counts: `[sums]`.
        hidden: sums that are hidden already, `[sums]`.
        free: sums that may be hidden; others are told unless they are hidden already, `[sums]`.
        smallest: count that is told as it is.
    """
    small = (counts > 0) & (counts < smallest)
    result = hidden | (small & free)
    while (free & ~result).any() and _follow(sums[~result], sums[small & result]):
        left = np.flatnonzero(free & ~result)
        result[min(left, key=lambda place: (counts[place] == 0, counts[place]))] = True
    return result


def _follow(shown: Floats, secret: Floats) -> bool:
    """Whether one of these sums is a combination of shown ones, whatever the counts."""
    rest = secret.T - shown.T @ np.linalg.lstsq(shown.T, secret.T, rcond=None)[0]
    return bool((np.abs(rest).max(axis=0, initial=0.0) < 1e-9).any())


def _gives_away(line: NDArray[np.int64], mask: Mask, smallest: int) -> bool:
    return bool(mask.any() and not mask.all() and (mask.sum() == 1 or line[mask].sum() < smallest))


def _determined(hidden: Mask) -> Mask:
    """Hidden cells whose value follows from shown ones and the sums of all lines: no other table has the same."""
    places = np.argwhere(hidden)
    result = np.zeros(hidden.shape, dtype=np.bool_)
    if len(places):
        rows = places[:, :1] == np.arange(hidden.shape[0])
        columns = places[:, 1:] == np.arange(hidden.shape[1])
        equations = np.concatenate([rows, columns], axis=1).T.astype(np.float64)
        rank = np.linalg.matrix_rank(equations)
        free = np.linalg.svd(equations)[2][rank:]  # how tables with the same sums may differ
        result[hidden] = np.abs(free).max(axis=0, initial=0.0) < 1e-9
    return result
