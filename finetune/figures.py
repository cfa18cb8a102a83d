"""Figures of a model on a group of patients: values, patient bootstrap, and hospital bootstrap."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.statistics.base import Column, Measure, Tables, Targets, TaskStatistics
from foundation.statistics.comparison import Difference, paired_bootstrap
from foundation.statistics.figure import HOSPITAL_BOOTSTRAP, PATIENT_BOOTSTRAP, Figure, Support
from foundation.statistics.hospitals import drawn_hospitals, hospital_bootstrap, hospital_draws
from foundation.statistics.weights import weight_blocks

_BLOCK = 1 << 21  # numbers in tables at a time
Values = dict[str, Column]


@dataclass(frozen=True)
class Resampling:
    """How figures get their intervals.

    Attributes:
        support: below which there is no figure.
        replicates: of each bootstrap.
        seed: of both.
        exact: whether figures are of unrounded scores and times; else of the declared grids, as hospitals sum them.
    """

    support: Support
    replicates: int
    seed: int
    exact: bool = True


@dataclass(frozen=True)
class Figures:
    """All measures of a model on a group of patients.

    Attributes:
        measures: by name.
        by_patient: by measure, its values `[1 + replicates]`; row 0 the patients as they are.
        by_hospital: the same, by drawing hospitals; empty where there are too few of them.
        hospitals: that the patients come from.
        support: below which there is no figure.
        curves: see `TaskStatistics.curves`.
    """

    measures: dict[str, Measure]
    by_patient: Values
    by_hospital: Values
    hospitals: int
    support: Support
    curves: dict[str, Any]

    def figure(self, name: str) -> Figure:
        """With the interval of the patient bootstrap."""
        return self.measures[name].figure(self.support, self.by_patient[name], PATIENT_BOOTSTRAP)

    def new_hospital(self, name: str) -> Figure:
        """With the interval of the hospital bootstrap: how the figure varies with which hospitals there are."""
        measure = self.measures[name]
        if self.hospitals < self.support.hospitals:
            hospitals = "hospital" if self.hospitals == 1 else "hospitals"
            reason = f"{self.hospitals} {hospitals}, of {self.support.hospitals} that it takes"
            return Figure(None, None, None, measure.n, measure.outcomes, measure.estimator, reason=reason)
        return measure.figure(self.support, self.by_hospital[name], HOSPITAL_BOOTSTRAP)

    def less(self, other: "Figures", name: str) -> Difference | None:
        """This model's figure less another's, of the same patients and replicates; None where one of them is none."""
        for figures in (self, other):
            if figures.measures[name].lack(self.support) is not None:
                return None
        return paired_bootstrap(self.by_patient[name], other.by_patient[name], self.support.defined)


def figures(
    statistics: TaskStatistics,
    targets: Targets,
    estimates: Column,
    patients: Sequence[str],
    hospitals: Sequence[str],
    resampling: Resampling,
) -> Figures:
    """Figures of these patients.

    Args:
        statistics: of the head.
        targets: by label column, `[patients]`.
        estimates: of the head, `[patients]` or `[patients, outputs]`.
        patients: ids.
        hospitals: of the patients.
        resampling: how intervals come about.
    """
    statistics = statistics.exact(targets, estimates) if resampling.exact else statistics
    support = resampling.support
    tables = statistics.tables(targets, estimates, hospitals)
    measures = statistics.measures(tables, support)
    names = sorted(set(hospitals))
    whole = {name: measure.values[:1] for name, measure in measures.items()}
    enough = len(patients) >= support.patients and resampling.replicates > 0
    size = max(1, _BLOCK // sum(array.size for table in tables.values() for array in table.to_arrays().values()))

    # Each block begins with the patients as they are: by their counts alone a mean chooses the parts that enter it.
    def patient_blocks() -> Iterator[Tables]:
        everybody = np.ones((1, len(patients)), dtype=np.int64)
        for _, block in weight_blocks(patients, resampling.replicates, str(resampling.seed), size):
            yield statistics.tables(targets, estimates, hospitals, np.concatenate([everybody, block]))

    def hospital_blocks() -> Iterator[Tables]:
        parts = _by_hospital(statistics, targets, estimates, hospitals)
        everybody, draws = np.split(hospital_draws(len(names), resampling.replicates, resampling.seed), [1])
        for start in range(0, len(draws), size):
            block = np.concatenate([everybody, draws[start : start + size]])
            yield {name: drawn_hospitals([part[name] for part in parts], block) for name in tables}

    def drawn(blocks: Iterator[Tables]) -> Values:
        parts = [statistics.measures(block, support) for block in blocks]
        return {
            name: row if measures[name].single else np.concatenate([row, *(part[name].values[1:] for part in parts)])
            for name, row in whole.items()
        }

    return Figures(
        measures,
        drawn(patient_blocks()) if enough else whole,
        drawn(hospital_blocks()) if enough and len(names) >= support.hospitals else whole,
        len(names),
        support,
        statistics.curves(tables),
    )


def figures_of_tables(
    statistics: TaskStatistics,
    tables: Tables,
    support: Support,
    by_hospital: Mapping[str, Tables] | None = None,
    replicates: int = 0,
    seed: int = 0,
) -> Figures:
    """Figures of tables that hold their own replicates of patients, such as sums over hospitals.

    Args:
        statistics: of the task's kind.
        tables: of all patients.
        support: below which there is no figure.
        by_hospital: tables of each hospital; None where they are hidden.
        replicates: of the hospital bootstrap.
        seed: of its draws, which follow the hospitals' names, as those of `figures` do.
    """
    parts = [one for _, one in sorted((by_hospital or {}).items())]
    measures = statistics.measures(tables, support)
    by_draw: Values = {}
    if len(parts) >= support.hospitals:
        drawn = {name: hospital_bootstrap([part[name] for part in parts], replicates, seed) for name in tables}
        by_draw = _values(measures, statistics.measures(drawn, support))
    return Figures(measures, _values(measures, measures), by_draw, len(parts), support, statistics.curves(tables))


def _values(measures: Mapping[str, Measure], drawn: Mapping[str, Measure]) -> Values:
    """Values by replicate; of the patients as they are alone where nothing else is told."""
    return {name: part.values[:1] if measures[name].single else part.values for name, part in drawn.items()}


def _by_hospital(
    statistics: TaskStatistics, targets: Targets, estimates: Column, hospitals: Sequence[str]
) -> list[Tables]:
    """The tables of each hospital, in order of their names."""
    where = np.asarray(hospitals)
    parts = []
    for name in np.unique(where):
        inside = where == name
        rows = {column: values[inside] for column, values in targets.items()}
        parts.append(statistics.tables(rows, estimates[inside], where[inside].tolist()))
    return parts


def interval(figure: Figure) -> dict[str, Any]:
    """Value, low and high of a figure, and the reason where one is missing."""
    content: dict[str, Any] = {"value": figure.value, "low": figure.low, "high": figure.high}
    return content if figure.reason is None else content | {"reason": figure.reason}
