"""Declared grids: the values to which scores and times are rounded before they are counted."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UserError

DAYS_A_MONTH = 365.25 / 12


@dataclass(frozen=True, eq=False)
class Grid:
    """Ascending values; what is counted on them keeps its order, for rounding never swaps two values.

    Attributes:
        values: `[cells]`, finite, strictly ascending.
        up: whether a value goes to the next grid value above it (times: events up to a grid time are exact), rather
            than to the nearest one (scores). What lies outside goes to the ends.
    """

    values: NDArray[np.float64]
    up: bool = False

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "values", values)
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
            raise UserError("grid: values must be finite, ascending and at least one; declare another grid")

    @classmethod
    def steps(cls, low: float, high: float, step: float) -> "Grid":
        """From low to high in equal steps, such as probabilities by 1e-3."""
        count = round((high - low) / step)
        return cls(low + (high - low) * np.arange(count + 1, dtype=np.float64) / count)

    @classmethod
    def months(cls, years: float, every: int = 1) -> "Grid":
        """Ends of months in days, from `every` months to `years`; a time counts at the end of its month."""
        return cls(DAYS_A_MONTH * np.arange(every, round(years * 12) + 1, every, dtype=np.float64), up=True)

    @classmethod
    def exact(cls, values: ArrayLike, up: bool = False) -> "Grid":
        """Every distinct value of these: nothing is rounded; only one place can declare it."""
        return cls(np.unique(np.asarray(values, dtype=np.float64)), up)

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.up == other.up and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self.values.tobytes(), self.up))

    def index(self, values: ArrayLike) -> NDArray[np.int64]:
        """The cell of each value: `[values]`.

        Raises:
            UserError: if a value is not finite.
        """
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            raise UserError("grid: a score or time is not a finite number; leave such patients out, or mend them")
        if self.up:
            cells: NDArray[Any] = np.searchsorted(self.values, values, side="left")
            return np.asarray(np.minimum(cells, len(self) - 1))
        cuts = (self.values[1:] + self.values[:-1]) / 2
        return np.asarray(np.searchsorted(cuts, values, side="right"))

    def from_cell(self, value: float) -> int:
        """The first cell whose value is at least this one; the number of cells where there is none."""
        return int(np.searchsorted(self.values, value, side="left"))

    def up_to(self, value: float) -> int:
        """The number of cells whose value is at most this one."""
        return int(np.searchsorted(self.values, value, side="right"))
