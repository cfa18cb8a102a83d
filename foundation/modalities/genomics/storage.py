"""Genomics in a prepared cohort: by channel float32 `[genes]`, NaN where not measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.data.dictionary import DataDictionary
from foundation.data.storage import Hidden, HospitalFiles, Storage

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

    def hide(self, raw: Channels, dictionary: DataDictionary, hidden: Hidden) -> Channels | None:
        return hide_genes(raw, dictionary.genes, hidden)


STORAGE = GenomicsStorage()


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
