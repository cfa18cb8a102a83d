"""Statistics of several causes of which the first to come hides the others."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from numpy.typing import NDArray

from finetune.statistics.base import Column, Measure, Tables, Targets, TaskStatistics
from finetune.statistics.binary import mean_measure, part_of
from finetune.statistics.cause import CauseStatistics
from foundation.statistics.figure import Support
from foundation.statistics.grid import Grid


class CompetingStatistics(TaskStatistics):
    """Of several causes: each by itself, and the mean over those that reach the support.

    Estimates are incidences to the end of intervals, `[patients, causes * intervals]`, a cause's together; or log
    hazards of a model that ranks alone, `[patients, causes]`.

    Args:
        parts: of the causes, in the order of the head's outputs.
    """

    primary = "c_index"

    def __init__(self, parts: Sequence[CauseStatistics]) -> None:
        self.parts = list(parts)

    def exact(self, targets: Targets, estimates: Column) -> Self:
        parts = []
        for part, column in self._split(estimates):
            times = Grid.of_events(targets[part.cause] > 0, targets[part.time], part.horizons)
            parts.append(part.on(part.ranks, times, Grid.exact(part.risk(column))))
        return type(self)(parts)

    def ranking(self) -> Self:
        return type(self)([part.on(True, part.times, part.scores) for part in self.parts])

    def tables(
        self, targets: Targets, estimates: Column, hospitals: Sequence[str], weights: NDArray[Any] | None = None
    ) -> Tables:
        return {
            f"{part.name}/{name}": table
            for part, column in self._split(estimates)
            for name, table in part.tables(targets, column, hospitals, weights).items()
        }

    def empty(self, replicates: int = 0) -> Tables:
        return {f"{part.name}/{name}": table for part in self.parts for name, table in part.empty(replicates).items()}

    def measures(self, tables: Mapping[str, Any], support: Support) -> dict[str, Measure]:
        by_cause = {part.name: part.measures(part_of(tables, part.name)) for part in self.parts}
        counts = {name: measures["c_index"].outcomes for name, measures in by_cause.items()}
        outcomes = {name: each["events"] for name, each in counts.items()}
        outcomes["censored"] = counts[self.parts[0].name]["censored"]
        means = {
            name: mean_measure([measures[name] for measures in by_cause.values()], support, outcomes)
            for name in by_cause[self.parts[0].name]
            if not name.startswith("incidence/")
        }
        return means | {f"{name}/{cause}": each for cause, row in by_cause.items() for name, each in row.items()}

    def risks(self, estimates: Column) -> list[Column]:
        """By what each cause ranks patients, `[patients]`."""
        return [part.risk(column) for part, column in self._split(estimates)]

    def curves(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        return {part.name: part.curves(part_of(tables, part.name)) for part in self.parts}

    def predictions(self, targets: Targets, estimates: Column) -> list[dict[str, Any]]:
        by_cause = [part.predictions(targets, column) for part, column in self._split(estimates)]
        return [row for patient in zip(*by_cause, strict=True) for rows in patient for row in rows]

    def _split(self, estimates: Column) -> list[tuple[CauseStatistics, Column]]:
        """Each cause with its part of the estimates."""
        causes = len(self.parts)
        if estimates.shape[1] == causes:
            return [(part, estimates[:, place]) for place, part in enumerate(self.parts)]
        curves = estimates.reshape(len(estimates), causes, len(self.parts[0].edges))
        return [(part, curves[:, place]) for place, part in enumerate(self.parts)]
