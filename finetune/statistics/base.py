"""The statistics of a kind of task: tables that hospitals add, and the measures that come of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from foundation.statistics.comparison import Difference
from foundation.statistics.figure import Figure, Support
from foundation.statistics.table import Table

Column = NDArray[np.float64]
Targets = Mapping[str, Column]
Tables = dict[str, Table]


@dataclass(frozen=True)
class Measure:
    """One number of the patients, and of each replicate of them.

    Attributes:
        values: `[replicates]`, row 0 the patients as they are; NaN where not defined.
        estimator: what the number is.
        n: patients.
        outcomes: patients by outcome.
        needs: the outcomes that it compares, each of which must reach the support.
        single: told of the patients as they are alone, such as a p.
    """

    values: Column
    estimator: str
    n: int
    outcomes: dict[str, int] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    single: bool = False

    def lack(self, support: Support) -> str | None:
        """What it lacks to be a figure, in words."""
        return support.lack(self.n, {name: self.outcomes[name] for name in self.needs})

    def figure(self, support: Support, values: Column, interval: str) -> Figure:
        """As a figure, with all replicates' values."""
        return support.figure(values, self.n, self.outcomes, self.estimator, interval, self.needs)


class TaskStatistics(ABC):
    """Tables and measures of one kind of task.

    Attributes:
        primary: name of the measure that stands for the others; more of it is better.
    """

    primary: ClassVar[str]

    @abstractmethod
    def exact(self, targets: Targets, estimates: Column) -> Self:
        """The same on grids that round nothing, which one place alone can declare."""

    @abstractmethod
    def tables(
        self, targets: Targets, estimates: Column, hospitals: Sequence[str], weights: NDArray[Any] | None = None
    ) -> Tables:
        """Tables by name, whose shapes the declaration fixes.

        Args:
            targets: by label column, `[patients]`, NaN where unknown.
            estimates: of the head, `[patients]` or `[patients, outputs]`.
            hospitals: of the patients.
            weights: how often each patient counts, `[replicates, patients]`.
        """

    @abstractmethod
    def empty(self, replicates: int = 0) -> Tables:
        """Tables of nobody: names and shapes of what is added, into which a sum is filled."""

    @abstractmethod
    def measures(self, tables: Mapping[str, Any], support: Support) -> dict[str, Measure]:
        """Measures by name, from the tables alone; the primary one first.

        Args:
            tables: of `tables`, or sums of those of several hospitals.
            support: what a part must reach to enter a mean over parts.
        """

    def ranking(self) -> Self:
        """The same for a model that ranks patients alone; itself where every estimate is a prediction."""
        return self

    def exact_tests(self, targets: Targets, first: Column, second: Column) -> dict[str, Difference]:
        """Paired tests of two models' estimates that need no replicates, by measure."""
        return {}

    @abstractmethod
    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        """What a page draws, as lists, of the patients as they are."""

    @abstractmethod
    def predictions(self, targets: Targets, estimates: Column) -> list[dict[str, Any]]:
        """A row a patient and output: `output`, `label`, `prediction`, `probability`; None where there is none."""


def listed(values: NDArray[Any]) -> list[float | None]:
    """Numbers as JSON has them: None where not defined."""
    return [float(value) if np.isfinite(value) else None for value in values]
