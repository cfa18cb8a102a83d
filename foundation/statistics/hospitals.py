"""Bootstrap over hospitals: how a figure varies with who takes part, the interval for a new hospital."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from foundation.statistics.table import Table, total

T = TypeVar("T", bound=Table)


def hospital_bootstrap(tables: Sequence[T], replicates: int, seed: int) -> T:
    """The pooled table with replicates that draw hospitals, with replacement, and all patients of those drawn.

    Needs each hospital's own table (of row 0), and no patient: it costs no message (cluster bootstrap, Davison &
    Hinkley 1997, ch. 3.8).

    Raises:
        UserError: if there is no table, or their declarations differ.
    """
    firsts = [table.row() for table in tables]
    pooled = total(firsts)
    draws = np.random.default_rng(seed).multinomial(len(firsts), np.full(len(firsts), 1 / len(firsts)), replicates)
    draws = np.concatenate([np.ones((1, len(firsts)), dtype=draws.dtype), draws])
    arrays = {}
    for name in pooled.summed:
        stacked = np.concatenate([getattr(table, name) for table in firsts])
        arrays[name] = np.tensordot(draws.astype(stacked.dtype), stacked, axes=1)
    return replace(pooled, **arrays)
