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
        sums = np.tensordot(draws.astype(np.float64), stacked.astype(np.float64), axes=1)
        arrays[name] = np.rint(sums).astype(np.int64) if stacked.dtype == np.int64 else sums
    return replace(pooled, **arrays)
