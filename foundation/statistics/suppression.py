"""Small cells of a table of counts, and what would let them be worked out from sums that are told."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

import numpy as np

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
    fixed = np.diag(np.linalg.pinv(rows) @ rows)  # 1 where the cell lies in what the sums span
    return {name for name, share in zip(names, fixed, strict=True) if share > 1 - 1e-9}


def _told_by_sums(
    counts: Mapping[str, int], hidden: set[str], small: set[str], sums: Sequence[AbstractSet[str]], least: int
) -> bool:
    """Whether what the sums leave for the hidden cells is small, or fixes one of the small ones."""
    left = [total & hidden for total in sums]
    if any(is_small(sum(counts[name] for name in part), least) for part in left if part & small):
        return True
    return bool(determined(hidden, left) & small)
