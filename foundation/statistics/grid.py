"""Declared grids: the values to which scores and times are rounded before they are counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.errors import UserError

DAYS_A_MONTH = 365.25 / 12
Rounding = Literal["nearest", "up", "down"]


@dataclass(frozen=True, eq=False)
class Grid:
    """Ascending values; what is counted on them keeps its order, for rounding never swaps two values.

    Attributes:
        values: `[cells]`, finite, strictly ascending.
        rounding: where a value between two goes: "nearest" (scores), "up" (times: what happened up to a grid time is
            exact), or "down" (times of events; see `of_events`). What lies outside goes to the ends.
    """

    values: NDArray[np.float64]
    rounding: Rounding = "nearest"

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
        return cls(DAYS_A_MONTH * np.arange(every, round(years * 12) + 1, every, dtype=np.float64), "up")

    @classmethod
    def exact(cls, values: ArrayLike) -> "Grid":
        """Every distinct value of these: nothing is rounded; only one place can declare it."""
        return cls(np.unique(np.asarray(values, dtype=np.float64)))

    @classmethod
    def of_events(cls, event: ArrayLike, time: ArrayLike, horizons: Sequence[float] = ()) -> "Grid":
        """Times of events, and horizons: all that survival figures need to be exact; only one place can declare it.

        Between two of them a censoring may move to the earlier one: who is at risk at events, and the product of what
        censoring leaves up to them, stay the same. The moment after a horizon keeps those apart who were followed on.
        """
        event, time, ends = (np.asarray(values, dtype=np.float64) for values in (event, time, horizons))
        return cls(np.unique(np.concatenate([[0.0], time[event == 1], ends, np.nextafter(ends, np.inf)])), "down")

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.rounding == other.rounding and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self.values.tobytes(), self.rounding))

    def index(self, values: ArrayLike) -> NDArray[np.int64]:
        """The cell of each value: `[values]`.

        Raises:
            UserError: if a value is not finite.
        """
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            raise UserError("grid: a score or time is not a finite number; leave such patients out, or mend them")
        if self.rounding != "nearest":
            up = self.rounding == "up"
            cells: NDArray[Any] = np.searchsorted(self.values, values, side="left" if up else "right")
            return np.asarray(np.clip(cells if up else cells - 1, 0, len(self) - 1))
        cuts = (self.values[1:] + self.values[:-1]) / 2
        return np.asarray(np.searchsorted(cuts, values, side="right"))

    def from_cell(self, value: float) -> int:
        """The first cell whose value is at least this one; the number of cells where there is none."""
        return int(np.searchsorted(self.values, value, side="left"))

    def up_to(self, value: float) -> int:
        """The number of cells whose value is at most this one."""
        return int(np.searchsorted(self.values, value, side="right"))
