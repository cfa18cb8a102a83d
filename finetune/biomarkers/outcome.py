"""What a task predicts, of patients whom the model has not seen, as residuals that candidates are held against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.heads.competing import CompetingRisks
from finetune.heads.follow_up import FollowUp
from finetune.heads.multilabel import MultiLabel
from finetune.trial.prognosis import martingale_residuals
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.statistics.table import Floats


@dataclass(frozen=True)
class Outcome:
    """An outcome of patients of whom it is known.

    Attributes:
        patients: ids.
        hospitals: of the patients.
        residual: martingale residual within the hospital, label of the predicted class, or quantity: `[patients]`.
        groups: patients by what happened to them, for tables: bool `[patients]` by name.
        words: what is held against it.
    """

    patients: list[str]
    hospitals: NDArray[np.str_]
    residual: Floats
    groups: dict[str, NDArray[np.bool_]]
    words: str

    def of(self, rows: NDArray[np.intp]) -> "Outcome":
        """Some of the patients; residuals stay those of all."""
        groups = {name: inside[rows] for name, inside in self.groups.items()}
        patients = [self.patients[row] for row in rows]
        return Outcome(patients, self.hospitals[rows], self.residual[rows], groups, self.words)


def outcome_of(head: Head, output: int, cohort: Cohort, patients: Sequence[str]) -> Outcome:
    """Of those of the patients of whom it is known.

    Args:
        head: of the task.
        output: the class, label or cause that is looked at, where the head has several.
        cohort: prepared.
        patients: whom the model has not seen.

    Raises:
        UserError: if nobody's is known, or it is the same of all.
    """
    table = cohort.patients.loc[list(patients)]
    columns = [head.targets[output]] if isinstance(head, MultiLabel) else head.targets
    table = table[table[columns].notna().all(axis=1)]
    values = table[columns].to_numpy(np.float64)
    hospitals = table["hospital"].to_numpy(str)
    residual, groups, words = _residuals(head, output, values, hospitals, columns)
    if len(table) < 2 or not np.ptp(residual) > 0:
        raise UserError(
            f"split: {len(table)} patients with a known {', '.join(columns)}, and no two of them differ; "
            "choose a split with more"
        )
    return Outcome([str(name) for name in table.index], hospitals, residual, groups, words)


def _residuals(
    head: Head, output: int, values: Floats, hospitals: NDArray[np.str_], columns: list[str]
) -> tuple[Floats, dict[str, NDArray[np.bool_]], str]:
    if isinstance(head, FollowUp | CompetingRisks):
        cause = output if isinstance(head, CompetingRisks) else 0
        seen = values[:, 0] == cause + 1  # other causes are censored when they come
        residual = np.zeros(len(values))
        for name in np.unique(hospitals):
            rows = hospitals == name
            residual[rows] = martingale_residuals(seen[rows].astype(np.float64), values[rows, 1])
        event = f"{columns[0]} = {head.causes[cause]}" if isinstance(head, CompetingRisks) else columns[0]
        return residual, {"events": seen, "censored": ~seen}, f"{event} (martingale residuals by hospital)"
    if head.kind == "regression":
        return values[:, 0], {"patients": np.ones(len(values), dtype=np.bool_)}, columns[0]
    positive = values[:, 0] == (output if isinstance(head, Classification) else 1)
    name = f"{columns[0]} = {head.classes[output]}" if isinstance(head, Classification) else columns[0]
    return positive.astype(np.float64), {"with it": positive, "without": ~positive}, name
