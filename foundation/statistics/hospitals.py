"""Bootstrap over hospitals: how a figure varies with who takes part, the interval for a new hospital."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from foundation.statistics.table import Integers, Table, total

T = TypeVar("T", bound=Table)


def hospital_bootstrap(tables: Sequence[T], replicates: int, seed: int) -> T:
    """The pooled table with replicates that draw hospitals, with replacement, and all patients of those drawn.

    Needs each hospital's own table (of row 0), and no patient: it costs no message (cluster bootstrap, Davison &
    Hinkley 1997, ch. 3.8).

    Raises:
        UserError: if there is no table, or their declarations differ.
    """
    return drawn_hospitals(tables, hospital_draws(len(tables), replicates, seed))


def hospital_draws(hospitals: int, replicates: int, seed: int) -> Integers:
    """How often each replicate draws each hospital: `[1 + replicates, hospitals]`, row 0 all ones."""
    draws = np.random.default_rng(seed).multinomial(hospitals, np.full(hospitals, 1 / hospitals), replicates)
    return np.concatenate([np.ones((1, hospitals), dtype=np.int64), draws.astype(np.int64)])


def drawn_hospitals(tables: Sequence[T], draws: Integers) -> T:
    """The pooled table of each draw, `[draws, hospitals]`; a hospital drawn twice counts as two of its kind.

    Raises:
        UserError: if there is no table, or their declarations differ.
    """
    firsts = [table.row() for table in tables]
    pooled = total(firsts)
    arrays = {}
    for name in pooled.summed:
        stacked = np.concatenate([getattr(table, name) for table in firsts])
        if stacked.dtype == np.int64:
            arrays[name] = _drawn_counts(stacked, draws)
        else:
            arrays[name] = np.tensordot(draws.astype(np.float64), stacked.astype(np.float64), axes=1)
    return replace(pooled, **arrays)


def _drawn_counts(counts: Integers, draws: Integers) -> Integers:
    """Counts of each draw, `[draws, ...]`, of those of hospitals, `[hospitals, ...]`.

    Few cells of a fine grid hold anybody, and draws of those alone are multiplied.
    """
    flat = counts.reshape(len(counts), -1)
    present = np.flatnonzero(flat.any(axis=0))
    drawn = np.zeros((len(draws), flat.shape[1]), dtype=np.int64)
    drawn[:, present] = draws @ flat[:, present]
    return drawn.reshape(len(draws), *counts.shape[1:])
