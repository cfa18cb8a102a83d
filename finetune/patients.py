"""Patients of a task: those whose targets its head can use, and these targets."""

from collections.abc import Sequence

import numpy as np

from finetune.derived import derive_targets
from finetune.heads.base import Columns, Head, TargetCounts
from foundation.data.characteristics import FEWEST
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError
from foundation.statistics.suppression import is_small


def patients_with_target(
    cohort: Cohort, patients: list[str], head: Head, modalities: list[str], drop_inputs: dict[str, list[str]]
) -> PatientDataset:
    """The patients whose targets the head can use and who have a modality that the task looks at.

    Raises:
        UserError: if the cohort has no such column.
    """
    derive_targets(cohort, head, modalities, drop_inputs)
    for name in head.targets:
        if name not in cohort.patients.columns:
            labels = [*cohort.dictionary.labels, *cohort.dictionary.survival.values()]
            raise UserError(f"task.head: target '{name}' is no label of {cohort.name}; it has {', '.join(labels)}")
    table = cohort.patients.loc[patients]
    return PatientDataset(cohort, table.index[head.usable(table)].tolist(), modalities, head.targets, drop_inputs)


def target_columns(cohort: Cohort, patients: Sequence[str], head: Head) -> Columns:
    """The targets of these patients, `[patients]` each, NaN where unknown."""
    table = cohort.patients.loc[list(patients), head.targets]
    return {name: table[name].to_numpy(dtype=np.float64) for name in head.targets}


def count_modalities(part: PatientDataset) -> dict[str, int]:
    """Of how many patients of a part the task reads each of its modalities."""
    table = part.cohort.patients.loc[part.patients, part.modalities]
    return {str(name): int(count) for name, count in table.astype(bool).sum().items()}


def told_outcomes(head: Head, counts: TargetCounts, synthetic: bool) -> dict[str, int | None]:
    """Patients by outcome, for a run record; None each where any value of a target is that of one to four persons.

    Args:
        head: that names outcomes.
        counts: of the patients.
        synthetic: whether no person stands behind a row.
    """
    cells = [[counts.patients - sum(values.values()), *values.values()] for values in counts.by_target.values()]
    small = not synthetic and any(is_small(count, FEWEST) for row in cells for count in row)
    return {name: None if small else count for name, count in head.outcomes(counts).items()}
