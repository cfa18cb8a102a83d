"""A record's cells as plain values, the same in preparation and in serving."""

from collections.abc import Sequence
from typing import Protocol

import pandas as pd

from foundation.data.numbers import numbers
from foundation.data.table_files import as_text


class Typed(Protocol):
    """A column of a data dictionary, or of a bundle's schema."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...


def plain_values(read: pd.DataFrame | None, columns: Sequence[Typed], order: "pd.Index[str]") -> pd.DataFrame:
    """Numbers as numbers, categories as words, unknown as None.

    Args:
        read: cells as they were read, `[patients, columns]`; None where there are none.
        columns: of the record, with `name` and `kind`.
        order: of the patients.
    """
    record = pd.DataFrame(index=order, columns=[column.name for column in columns], dtype=object)
    for column in columns:
        if read is not None and column.name in read:
            cells = read[column.name].reindex(order)
            words = column.kind == "categorical"
            record[column.name] = as_text(cells) if words else numbers(cells).astype(float)
    return record.astype(object).where(record.notna(), None)
