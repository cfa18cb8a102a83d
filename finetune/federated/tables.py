"""The tables that a task model's evaluation counts at a hospital, whole and by subgroup, in declared shapes."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.baseline import records
from finetune.federated.figures import ALL, RELIABILITY, SEPARATOR
from finetune.patients import patients_with_target, target_columns
from finetune.predictor import TaskModel
from finetune.reliability.evaluation import answer_columns
from finetune.reliability.module import Reading
from finetune.statistics.base import Column, Tables, Targets
from finetune.statistics.reliability import ReliabilityStatistics
from foundation.arrays import narrowed
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.data.dictionary import DataDictionary
from foundation.statistics.table import Table
from foundation.statistics.weights import poisson_weights

_SIZE = 64  # patients at a time
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

    @property
    def alone(self) -> dict[str, list[str]]:
        """By group of those who are seen through one modality alone, that modality."""
        groups = self.groups
        return {name: [one] for one in self.modalities for name in (f"{one} alone",) if name in groups}


@dataclass(frozen=True)
class Seen:
    """Some patients, as a model sees them.

    Attributes:
        patients: ids.
        hospitals: of them.
        targets: by label column, `[patients]`.
        estimates: of the head, `[patients]` or `[patients, outputs]`.
        answers: how far they can be relied on, as `finetune.reliability.evaluation` gives it; None where the model
            does not say, or nobody asks.
    """

    patients: list[str]
    hospitals: list[str]
    targets: Targets
    estimates: Column
    answers: Column | None = None

    def only(self, rows: NDArray[np.bool_]) -> "Seen":
        """Those of some rows."""
        kept = np.flatnonzero(rows)
        return Seen(
            [self.patients[row] for row in kept],
            [self.hospitals[row] for row in kept],
            {name: column[kept] for name, column in self.targets.items()},
            self.estimates[kept],
        )  # of subgroups of people nobody asks how far answers can be relied on


def judged(
    model: TaskModel, cohort: Cohort, patients: Sequence[str], modalities: Sequence[str] | None = None
) -> PatientDataset:
    """Those of some patients whose target is known and who have one of some modalities, the task's if not given."""
    names = list(model.task["modalities"] if modalities is None else modalities)
    return patients_with_target(cohort, list(patients), model.head, names, model.task["drop_inputs"])


def tables_of(model: TaskModel, cohort: Cohort, patients: Sequence[str], plan: Plan) -> dict[str, Tables]:
    """By subgroup, the tables of those of some patients whose target is known.

    Args:
        model: that is evaluated.
        cohort: of the patients.
        patients: whom to count, as far as they can be judged.
        plan: what all hospitals count alike.
    """
    groups = seen_by_group(model, cohort, patients, plan)
    return {name: _tables(model, groups[name], plan) for name in plan.groups}


def seen_by_group(model: TaskModel, cohort: Cohort, patients: Sequence[str], plan: Plan) -> dict[str, Seen]:
    """By subgroup, those of some patients whose target is known, as the model sees them."""
    subsets = {ALL: list(model.task["modalities"]), **plan.alone}
    groups = dict(zip(subsets, seen_through(model, cohort, patients, list(subsets.values())), strict=True))
    everybody = groups[ALL]
    record = records(cohort, everybody.patients)
    sex = np.array([str(row.get(_SEX)) for row in record])
    age = np.array([_number(row.get(_AGE)) for row in record])
    for name in plan.sexes:
        groups[f"sex {name}"] = everybody.only(sex == name)
    bands = [name for name in plan.groups if name.startswith("age ")]
    for place, name in enumerate(bands):
        band = np.searchsorted(np.array(plan.ages), age, side="right")
        groups[name] = everybody.only((band == place) & ~np.isnan(age))
    return groups


def tables_seen(model: TaskModel, groups: Mapping[str, Seen], plan: Plan) -> dict[str, Tables]:
    """Their tables as they are sent: counts are as narrow as they travel, and not to be reckoned with."""
    return {name: _tables(model, groups[name], plan, sent=True) for name in plan.groups}


def empty_tables(model: TaskModel, plan: Plan) -> dict[str, Tables]:
    """The same of nobody: the declaration that sums are read with."""
    everything = [list(model.task["modalities"])]
    ((estimates, answers),) = _estimates(model, None, everything, {name: np.zeros(0) for name in model.head.targets})
    nobody = Seen([], [], {name: np.zeros(0) for name in model.head.targets}, estimates, answers)
    whole = _tables(model, nobody, plan)
    without = {name: table for name, table in whole.items() if not name.startswith(RELIABILITY)}
    return {name: whole if name in (ALL, *plan.alone) else without for name in plan.groups}


def to_arrays(tables: Mapping[str, Tables]) -> dict[str, NDArray[Any]]:
    """As they travel: counts in the narrowest whole numbers that hold them."""
    return {
        SEPARATOR.join((group, name, field)): narrowed(values)
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
    start = SEPARATOR.join((group, name, ""))
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
    columns = target_columns(cohort, everybody.patients, model.head)
    seen = []
    for part, (estimates, answers) in zip(parts, _estimates(model, everybody, subsets, columns), strict=True):
        rows = [place[patient] for patient in part]
        hospitals, targets = cohort.patients.loc[part, "hospital"].tolist(), target_columns(cohort, part, model.head)
        seen.append(Seen(part, hospitals, targets, estimates[rows], None if answers is None else answers[rows]))
    return seen


@torch.no_grad()
def _estimates(
    model: TaskModel, part: PatientDataset | None, subsets: Sequence[Sequence[str]], targets: Targets
) -> list[tuple[Column, Column | None]]:
    """Of each subset of modalities, estimates `[patients, ...]`, and how far they can be relied on `[patients, 7]`.

    In double precision, so that a patient's does not depend on who is beside in a batch.
    """
    encoder, head = model.encoder.double(), model.head.double()
    width = encoder.width if head.blocks is None else sum(head.blocks.values())
    nobody = head(torch.zeros(0, width, dtype=torch.float64))
    modalities = model.task["modalities"]
    size = 0 if model.reliability is None else sum(encoder.feature_sizes(modalities).values())
    present, features = torch.zeros(0, len(modalities), dtype=torch.bool), torch.zeros(0, size, dtype=torch.float64)
    none = Reading(nobody, present, features)
    readings = [[none] for _ in subsets]
    patients = [] if part is None else part.patients
    for start in range(0, len(patients), _SIZE):
        samples = [model.usable(part.sample(patient)) for patient in patients[start : start + _SIZE]]  # type: ignore[union-attr]
        batch = encoder.encode_samples(samples).floating(torch.float64)
        for column, some in zip(readings, model.readings_by_subset(batch, subsets), strict=True):
            column.append(some)
    return [_told(model, Reading.joined(column), targets) for column in readings]


def _told(model: TaskModel, reading: Reading, targets: Targets) -> tuple[Column, Column | None]:
    estimates = np.asarray(model.head.estimate(reading.scores).numpy(), dtype=np.float64)
    if model.reliability is None:
        return estimates, None
    return estimates, answer_columns(model.reliability.double(), model.head.regions(), reading, targets)


def _tables(model: TaskModel, seen: Seen, plan: Plan, sent: bool = False) -> Tables:
    weights = poisson_weights(seen.patients, plan.replicates, plan.key)
    weights = weights.astype(np.uint8) if sent else weights  # a byte holds how often a patient may count
    tables = model.head.statistics().tables(seen.targets, seen.estimates, seen.hospitals, weights)
    if model.reliability is None or seen.answers is None:
        return tables
    answers = ReliabilityStatistics(model.reliability.coverage).tables({}, seen.answers, seen.hospitals, weights)
    return tables | {f"{RELIABILITY}/{name}": table for name, table in answers.items()}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
