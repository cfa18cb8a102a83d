"""What all tables share: replicates first, addition, and arrays that travel."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UserError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
T = TypeVar("T", bound="Table")


@dataclass(frozen=True, eq=False)
class Table:
    """Arrays of counts and sums on a declaration that all who add them share.

    Attributes:
        summed: names of the fields that are added; all others are the declaration.
    """

    summed: ClassVar[tuple[str, ...]]

    def __add__(self, other: Self) -> Self:
        for field in fields(self):
            if field.name not in self.summed and getattr(self, field.name) != getattr(other, field.name):
                raise UserError(f"{type(self).__name__}: {field.name} differs; hospitals must share one declaration")
        return self.filled(other.to_arrays(), add=True)

    def filled(self, arrays: Mapping[str, NDArray[Any]], add: bool = False) -> Self:
        """The same declaration with these arrays, such as a sum of those of several hospitals; or added to its own.

        Raises:
            UserError: if a name or a shape is another one, or a value is not finite.
        """
        if set(arrays) != set(self.summed):
            raise UserError(
                f"{type(self).__name__}: arrays are {', '.join(sorted(arrays)) or 'none'}, expected "
                f"{', '.join(self.summed)}; is the other release another one?"
            )
        values = {}
        for name in self.summed:
            mine, theirs = getattr(self, name), np.asarray(arrays[name])
            if mine.shape != theirs.shape:
                raise UserError(
                    f"{type(self).__name__}: {name} has shape {theirs.shape}, declared is {mine.shape}; "
                    "hospitals must share one declaration of grids and replicates"
                )
            if theirs.dtype.kind not in "iu" and not np.isfinite(theirs).all():
                raise UserError(f"{type(self).__name__}: {name} holds a value that is not finite; mend it at its site")
            theirs = np.rint(theirs) if mine.dtype == np.int64 and theirs.dtype.kind == "f" else theirs
            values[name] = (mine + theirs if add else theirs).astype(mine.dtype, copy=not add)
        return replace(self, **values)

    def to_arrays(self) -> Arrays:
        """What a message carries: the added fields alone, int64 or float64, replicates first."""
        return {name: getattr(self, name) for name in self.summed}

    @property
    def replicates(self) -> int:
        """Bootstrap replicates beside the patients as they are."""
        return len(getattr(self, self.summed[0])) - 1

    def row(self, replicate: int = 0) -> Self:
        """One replicate by itself; 0 is the patients as they are."""
        return replace(self, **{name: getattr(self, name)[replicate : replicate + 1] for name in self.summed})


def total(tables: Iterable[T]) -> T:
    """The table of all, as if their patients had been in one place.

    Raises:
        UserError: if there is none, or their declarations differ.
    """
    tables = list(tables)
    if not tables:
        raise UserError("statistics: no table to add; at least one hospital must answer")
    pooled = tables[0]
    for table in tables[1:]:
        pooled = pooled + table
    return pooled


def counted(cells: NDArray[Any], count: int, weights: NDArray[Any]) -> Integers:
    """Patients by cell: `[replicates, count]`.

    Args:
        cells: of each patient, `[patients]`.
        count: of cells.
        weights: how often a patient counts, `[replicates, patients]`, whole numbers. Of unsigned ones, such as bytes,
            the counts are the narrowest that hold them: to be sent, not to be reckoned with.
    """
    present, rows = _by_cell(cells, count, weights.astype(np.int64, copy=False))
    narrow = weights.dtype.kind == "u"
    kind = np.min_scalar_type(int(rows.max(initial=0))) if narrow else np.dtype(np.int64)
    # A hospital's patients are in few of a fine grid's cells; pages of zeros that nobody writes cost nothing.
    counts = np.zeros((len(weights), count), dtype=kind)
    counts[:, present] = rows
    return counts


def summed(cells: NDArray[Any], count: int, values: NDArray[Any]) -> Floats:
    """Sums of values `[..., patients]` by cell: `[..., count]`."""
    flat = np.asarray(values, dtype=np.float64).reshape(math.prod(values.shape[:-1]), values.shape[-1])
    present, rows = _by_cell(cells, count, flat)
    sums = np.zeros((len(flat), count))
    sums[:, present] = rows
    return sums.reshape(*values.shape[:-1], count)


def _by_cell(cells: NDArray[Any], count: int, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cells that hold anybody, and sums of values `[rows, patients]` in them: `[rows, cells]`.

    Raises:
        IndexError: if a patient's cell is none of the grid's.
    """
    if len(cells) and not 0 <= cells.min() <= cells.max() < count:
        raise IndexError(f"a cell is none of {count}")
    order = np.argsort(cells, kind="stable")
    present, starts = np.unique(cells[order], return_index=True)
    if not len(present):
        return present.astype(np.int64), np.zeros((len(values), 0), dtype=values.dtype)
    return present, np.add.reduceat(values[:, order], starts, axis=1)


def once(weights: ArrayLike | None, patients: int) -> NDArray[Any]:
    """The weights, `[replicates, patients]`; every patient once where there are none.

    Raises:
        UserError: if they are of other patients.
    """
    if weights is None:
        return np.ones((1, patients), dtype=np.int64)
    array = np.asarray(weights)
    if array.ndim != 2 or array.shape[1] != patients or not len(array):
        raise UserError(f"statistics: weights have shape {array.shape}, expected [replicates, {patients}]")
    return array


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Quotients, NaN where the denominator is zero."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0))


def columns(count: int, **named: ArrayLike) -> list[Floats]:
    """Columns of patients as float64, of one length.

    Raises:
        UserError: naming the column of another length, or that holds what is no number.
    """
    arrays = []
    for name, values in named.items():
        array = np.asarray(values, dtype=np.float64)
        if array.shape[:1] != (count,):
            raise UserError(f"statistics: {name} has shape {array.shape}, expected {count} patients")
        if not np.isfinite(array).all():
            raise UserError(f"statistics: {name} holds a value that is not finite; leave such patients out")
        arrays.append(array)
    return arrays
