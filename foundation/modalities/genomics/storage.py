"""Genomics in a prepared cohort: by channel float32 `[genes]`, NaN where not measured."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.dictionary import DataDictionary
from foundation.data.storage import Hidden, HospitalFiles, Part, Storage, stacked
from foundation.files import link

CHANNELS = ("expression", "mutations", "copy_number")
Channels = dict[str, NDArray[np.float32]]


class GenomicsStorage(Storage):
    """One array a hospital, `[patients, channels, genes]`, whose row `genomics_row` names."""

    name = "genomics"
    order = 30
    core = True
    hides = CHANNELS

    def load(self, row: "pd.Series[Any]", files: HospitalFiles) -> Channels:
        table = files.array(self.name)[int(row["genomics_row"])]
        return {channel: table[index] for index, channel in enumerate(CHANNELS)}

    def merge(self, kept: Part, fresh: Part, order: "pd.Index[str]", output: Path) -> pd.DataFrame:
        """Rows of both arrays in one, in order."""
        table = stacked(kept, fresh).loc[order].copy()
        before = table["genomics_row"].to_numpy()
        table["genomics_row"] = np.arange(len(table))
        if not table[self.name].any():
            return table
        paths = {id(part): part.folder / f"{self.name}.npy" for part in (kept, fresh)}
        if not len(fresh.table) and len(kept.table) == len(np.load(paths[id(kept)], mmap_mode="r")):
            link(paths[id(kept)], output / f"{self.name}.npy")
            return table
        arrays = {one: np.load(path, mmap_mode="r") for one, path in paths.items() if path.is_file()}
        shape = (len(table), *next(iter(arrays.values())).shape[1:])
        whole = np.lib.format.open_memmap(output / f"{self.name}.npy", mode="w+", dtype=np.float32, shape=shape)
        for part in (kept, fresh):
            to = table.index.get_indexer(part.table.index)
            if id(part) in arrays:
                _copy_rows(arrays[id(part)], before[to], whole, to)
            else:  # nobody of it has genomics
                whole[to] = np.nan
        return table

    def hide(self, raw: Channels, dictionary: DataDictionary, hidden: Hidden) -> Channels | None:
        return hide_genes(raw, dictionary.genes, hidden)


STORAGE = GenomicsStorage()


def _copy_rows(
    source: NDArray[np.float32], rows: NDArray[np.int64], target: NDArray[np.float32], to: NDArray[np.int64]
) -> None:
    """Rows of one array to others of another; those that stand beside each other in both are copied as one block."""
    if not len(rows):
        return
    begins = np.flatnonzero(np.append(True, (np.diff(rows) != 1) | (np.diff(to) != 1)))
    for begin, end in itertools.pairwise([*begins.tolist(), len(rows)]):
        count = end - begin
        target[to[begin] : to[begin] + count] = source[rows[begin] : rows[begin] + count]


def hide_genes(raw: Mapping[str, NDArray[np.float32]], genes: list[str], hidden: Hidden) -> Channels | None:
    """The channels with NaN (not measured) at the genes to hide; None where nothing is left.

    Args:
        raw: by channel `[genes]`.
        genes: symbols, one a position.
        hidden: by channel, symbols.
    """
    channels = {name: np.array(values, dtype=np.float32) for name, values in raw.items()}
    for channel in hidden.keys() & channels.keys():
        channels[channel][[genes.index(symbol) for symbol in hidden[channel] if symbol in genes]] = np.nan
    return None if all(np.isnan(values).all() for values in channels.values()) else channels
