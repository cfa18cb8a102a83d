"""Records in a prepared cohort: by column a number or a word, None where unknown."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from foundation.data.dictionary import DataDictionary
from foundation.data.storage import Hidden, HospitalFiles, Storage

Row = dict[str, Any]


class RecordStorage(Storage):
    """JSON in the column `record_values` of the patients' table."""

    name = "record"
    order = 50
    core = True
    hides = ("record",)

    def load(self, row: "pd.Series[Any]", files: HospitalFiles) -> Row:
        values: Row = json.loads(row["record_values"])
        return values

    def hide(self, raw: Row, dictionary: DataDictionary, hidden: Hidden) -> Row | None:
        return hide_columns(raw, hidden)


STORAGE = RecordStorage()


def hide_columns(raw: Mapping[str, Any], hidden: Hidden) -> Row | None:
    """The record with None (unknown) in the columns to hide; None where nothing is left.

    Args:
        raw: by column.
        hidden: names of columns under `record`.
    """
    drop = hidden.get("record", [])
    shown = {name: None if name in drop else value for name, value in raw.items()}
    return None if drop and all(value is None for value in shown.values()) else shown
