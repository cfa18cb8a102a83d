"""The tables that a task model's evaluation counts at a hospital, whole and by subgroup, in declared shapes."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.baseline import records
from finetune.patients import patients_with_target, target_columns
from finetune.predictor import TaskModel
from finetune.statistics.base import Column, Tables, Targets
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.data.dictionary import DataDictionary
from foundation.statistics.table import Table
from foundation.statistics.weights import poisson_weights

ALL = "all"
_SIZE = 64  # patients at a time
_SEPARATOR = "|"
_AGE, _SEX = "age", "sex"


@dataclass(frozen=True)
class Plan:
    """What all hospitals count alike.

    Attributes:
        replicates: of the patient bootstrap.
        key: of its draws.
        ages: years at which bands begin, ascending.
        sexes: as the data dictionary names them.
        modalities: each of which is evaluated alone, too.
    """

    replicates: int
    key: str
    ages: tuple[float, ...]
    sexes: tuple[str, ...]
    modalities: tuple[str, ...]

    @classmethod
    def of(
        cls, model: TaskModel, dictionary: DataDictionary, replicates: int, key: str, ages: Sequence[float]
    ) -> "Plan":
        """Of a model, for a cohort's dictionary."""
        columns = {column.name: column for column in dictionary.record}
        sexes = tuple(columns[_SEX].values or ()) if _SEX in columns else ()
        bands = tuple(sorted(float(age) for age in ages)) if _AGE in columns else ()
        return cls(replicates, key, bands, tuple(map(str, sexes)), tuple(model.task["modalities"]))

    @property
    def groups(self) -> list[str]:
        """Names of the subgroups, everybody first."""
        edges = [f"{age:g}" for age in self.ages]
        between = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
        bands = [f"below {edges[0]}", *between, f"from {edges[-1]}"] if edges else []
        alone = [f"{name} alone" for name in self.modalities] if len(self.modalities) > 1 else []
        return [ALL, *(f"sex {name}" for name in self.sexes), *(f"age {name}" for name in bands), *alone]


@dataclass(frozen=True)
class Seen:
    """Some patients, as a model sees them.

    Attributes:
        patients: ids.
        hospitals: of them.
        targets: by label column, `[patients]`.
        estimates: of the head, `[patients]` or `[patients, outputs]`.
    """

    patients: list[str]
    hospitals: list[str]
    targets: Targets
    estimates: Column

    def only(self, rows: NDArray[np.bool_]) -> "Seen":
        """Those of some rows."""
        kept = np.flatnonzero(rows)
        return Seen(
            [self.patients[row] for row in kept],
            [self.hospitals[row] for row in kept],
            {name: column[kept] for name, column in self.targets.items()},
            self.estimates[kept],
        )


def judged(
    model: TaskModel, cohort: Cohort, patients: Sequence[str], modalities: Sequence[str] | None = None
) -> PatientDataset:
    """Those of some patients whose target is known and who have one of some modalities, the task's if not given."""
    names = list(model.task["modalities"] if modalities is None else modalities)
    return patients_with_target(cohort, list(patients), model.head, names, model.task["drop_inputs"])


def tables_of(model: TaskModel, cohort: Cohort, patients: Sequence[str], plan: Plan) -> dict[str, Tables]:
    """By subgroup, the tables of those of some patients whose target is known."""
    alone = [name for name in plan.modalities if f"{name} alone" in plan.groups]
    everybody, *parts = seen_through(model, cohort, patients, [model.task["modalities"], *([name] for name in alone)])
    groups = {ALL: everybody} | {f"{name} alone": part for name, part in zip(alone, parts, strict=True)}
    record = records(cohort, everybody.patients)
    sex = np.array([str(row.get(_SEX)) for row in record])
    age = np.array([_number(row.get(_AGE)) for row in record])
    for name in plan.sexes:
        groups[f"sex {name}"] = everybody.only(sex == name)
    bands = [name for name in plan.groups if name.startswith("age ")]
    for place, name in enumerate(bands):
        band = np.searchsorted(np.array(plan.ages), age, side="right")
        groups[name] = everybody.only((band == place) & ~np.isnan(age))
    return {name: _tables(model, groups[name], plan) for name in plan.groups}


def empty_tables(model: TaskModel, plan: Plan) -> dict[str, Tables]:
    """The same of nobody: the declaration that sums are read with."""
    nobody = Seen([], [], {name: np.zeros(0) for name in model.head.targets}, _estimates(model, None, [[]])[0])
    tables = _tables(model, nobody, plan)
    return dict.fromkeys(plan.groups, tables)


def to_arrays(tables: Mapping[str, Tables]) -> dict[str, NDArray[Any]]:
    """As they travel: counts in the narrowest whole numbers that hold them."""
    return {
        _SEPARATOR.join((group, name, field)): _narrowed(values)
        for group, of_group in tables.items()
        for name, table in of_group.items()
        for field, values in table.to_arrays().items()
    }


def from_arrays(arrays: Mapping[str, NDArray[Any]], declared: Mapping[str, Tables]) -> dict[str, Tables]:
    """The way back.

    Raises:
        UserError: if an array is missing, or of another shape than declared.
    """
    return {
        group: {name: _filled(arrays, table, group, name) for name, table in tables.items()}
        for group, tables in declared.items()
    }


def _filled(arrays: Mapping[str, NDArray[Any]], table: Table, group: str, name: str) -> Table:
    start = _SEPARATOR.join((group, name, ""))
    return table.filled({key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)})


def seen_by(model: TaskModel, cohort: Cohort, patients: Sequence[str], modalities: Sequence[str]) -> Seen:
    """Patients with a known target, seen through some modalities."""
    return seen_through(model, cohort, patients, [modalities])[0]


def seen_through(
    model: TaskModel, cohort: Cohort, patients: Sequence[str], subsets: Sequence[Sequence[str]]
) -> list[Seen]:
    """The same through each of several subsets of modalities; each patient is read and encoded once."""
    union = [name for name in model.task["modalities"] if any(name in some for some in subsets)]
    everybody = judged(model, cohort, patients, union)
    parts = [judged(model, cohort, patients, some).patients for some in subsets]
    place = {patient: row for row, patient in enumerate(everybody.patients)}
    return [
        Seen(
            part,
            cohort.patients.loc[part, "hospital"].tolist(),
            target_columns(cohort, part, model.head),
            estimates[[place[patient] for patient in part]],
        )
        for part, estimates in zip(parts, _estimates(model, everybody, subsets), strict=True)
    ]


@torch.no_grad()
def _estimates(model: TaskModel, part: PatientDataset | None, subsets: Sequence[Sequence[str]]) -> list[Column]:
    """In double precision, so that a patient's does not depend on who is beside in a batch; `[patients, ...]` each."""
    encoder, head = model.encoder.double(), model.head.double()
    width = encoder.width if head.blocks is None else sum(head.blocks.values())
    scores = [[head(torch.zeros(0, width, dtype=torch.float64))] for _ in subsets]
    patients = [] if part is None else part.patients
    for start in range(0, len(patients), _SIZE):
        samples = [model.usable(part.sample(patient)) for patient in patients[start : start + _SIZE]]  # type: ignore[union-attr]
        batch = encoder.encode_samples(samples).floating(torch.float64)
        for column, some in zip(scores, model.scores_by_subset(batch, subsets), strict=True):
            column.append(some)
    return [np.asarray(head.estimate(torch.cat(column)).numpy(), dtype=np.float64) for column in scores]


def _tables(model: TaskModel, seen: Seen, plan: Plan) -> Tables:
    weights = poisson_weights(seen.patients, plan.replicates, plan.key)
    return model.head.statistics().tables(seen.targets, seen.estimates, seen.hospitals, weights)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _narrowed(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind not in "iu" or not values.size:
        return values
    return values.astype(np.promote_types(np.min_scalar_type(values.min()), np.min_scalar_type(values.max())))
