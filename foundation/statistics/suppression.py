"""Small cells of a table of counts, and what would let them be worked out from sums that are told."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from foundation.statistics.table import Floats

Mask = NDArray[np.bool_]
HIDDEN = "hidden"  # in place of a count
Name = TypeVar("Name", bound=Hashable)


def is_small(count: int | None, least: int) -> bool:
    """Whether a count is of some patients, but of fewer than may be told."""
    return count is not None and 0 < count < least


def hide(cells: Mapping[str, int | None], sums: Sequence[AbstractSet[str]], least: int) -> dict[str, int | None]:
    """A table without its small cells, and without as few others as keep those from being worked out.

    Args:
        cells: counts of patients, each patient in one.
        sums: sets of cells whose sum is known.
        least: smallest count that may be told.

    Returns:
        The table, None where a cell is withheld; nothing where no choice of cells helps.
    """
    counts = {name: value or 0 for name, value in cells.items()}
    hidden = {name for name, value in counts.items() if is_small(value, least)}
    small = set(hidden)
    others = sorted((value, name) for name, value in counts.items() if value and name not in hidden)
    while small and _told_by_sums(counts, hidden, small, sums, least):
        if not others:
            return {}
        hidden.add(others.pop(0)[1])
    return {name: None if name in hidden else value for name, value in counts.items()}


def determined(hidden: Collection[Name], sums: Sequence[AbstractSet[Name]]) -> set[Name]:
    """Hidden cells whose value follows from what is told and from the sums.

    Args:
        hidden: cells that are withheld.
        sums: sets of cells whose sum is known.
    """
    names = list(hidden)
    if not names or not sums:
        return set()
    rows = np.array([[name in total for name in names] for total in sums], dtype=float)
    return {name for name, fixed in zip(names, follow(rows, np.eye(len(names))), strict=True) if fixed}


def follow(shown: Floats, secret: Floats) -> Mask:
    """Which secret sums are combinations of told ones, whatever the counts that they are of: `[secrets]`.

    Args:
        shown: which cells each sum counts, `[sums, cells]`.
        secret: likewise, `[secrets, cells]`.
    """
    rest = secret.T - shown.T @ np.linalg.lstsq(shown.T, secret.T, rcond=None)[0]
    return np.asarray(np.abs(rest).max(axis=0, initial=0.0) < 1e-9)


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
            places = np.argwhere(_determined_cells(hidden) & small)
            weak = [(counts[row], hidden[row]) for row, _ in places if not hidden[row].all()]
            weak += [(counts[:, column], hidden[:, column]) for _, column in places if not hidden[:, column].all()]
        if not weak:
            return hidden
        line, mask = weak[0]
        mask[min(np.flatnonzero(~mask), key=lambda place: (line[place] == 0, line[place]))] = True


def cells_in_words(counts: NDArray[np.int64], hidden: Mask) -> NDArray[np.str_]:
    """A table of counts as a page shows it, of the same shape."""
    return np.where(hidden, HIDDEN, counts.astype(str))


def hidden_note(smallest: int) -> str:
    """What stands beside such a table."""
    return f"Counts of fewer than {smallest} patients are hidden, and others that would give them away."


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
    while (free & ~result).any() and follow(sums[~result], sums[small & result]).any():
        left = np.flatnonzero(free & ~result)
        result[min(left, key=lambda place: (counts[place] == 0, counts[place]))] = True
    return result


def _told_by_sums(
    counts: Mapping[str, int], hidden: set[str], small: set[str], sums: Sequence[AbstractSet[str]], least: int
) -> bool:
    """Whether what the sums leave for the hidden cells is small, or fixes one of the small ones."""
    left = [total & hidden for total in sums]
    if any(is_small(sum(counts[name] for name in part), least) for part in left if part & small):
        return True
    return bool(determined(hidden, left) & small)


def _gives_away(line: NDArray[np.int64], mask: Mask, smallest: int) -> bool:
    return bool(mask.any() and not mask.all() and (mask.sum() == 1 or line[mask].sum() < smallest))


def _determined_cells(hidden: Mask) -> Mask:
    """Hidden cells of a table whose value follows from shown ones and the totals of all lines."""
    rows, columns = hidden.shape
    lines = [{(row, column) for column in range(columns)} for row in range(rows)]
    lines += [{(row, column) for row in range(rows)} for column in range(columns)]
    places = [(int(row), int(column)) for row, column in np.argwhere(hidden)]
    result = np.zeros(hidden.shape, dtype=np.bool_)
    for place in determined(places, lines):
        result[place] = True
    return result
