"""Splits: whole hospitals held out for test, a share of the others' patients for validation."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.run_record import write_json


@dataclass(frozen=True)
class Split:
    """Patient ids by part; no patient stands in two."""

    train: list[str]
    validation: list[str]
    test: list[str]

    def __post_init__(self) -> None:
        parts = [*self.train, *self.validation, *self.test]
        if len(set(parts)) != len(parts):
            twice = sorted({patient for patient in parts if parts.count(patient) > 1})
            raise UserError(f"split: patient {twice[0]} stands in two parts; list each patient once")

    def save(self, path: Path, cohort_digest: str) -> None:
        """Writes the split beside the digest of the cohort that it was drawn from."""
        write_json(path, {"cohort_digest": cohort_digest, **asdict(self)})


def split(cohort: Cohort, test_hospitals: list[str], validation_fraction: float, seed: int) -> Split:
    """Holds whole hospitals out and draws validation patients from each other hospital.

    Each hospital draws by itself, so that a hospital alone in a federation gets the split that a pooled run gives it.

    Raises:
        UserError: if a hospital to hold out is not in the cohort.
    """
    for hospital in test_hospitals:
        if hospital not in cohort.declared:
            raise UserError(
                f"test_hospitals: '{hospital}' is not in {cohort.name}; it has {', '.join(cohort.declared)}"
            )
    train: list[str] = []
    validation: list[str] = []
    test: list[str] = []
    for hospital in cohort.hospitals:
        patients = sorted(cohort.patients.index[cohort.patients["hospital"] == hospital])
        if hospital in test_hospitals:
            test += patients
            continue
        order = np.random.default_rng([seed, *hospital.encode()]).permutation(len(patients))
        count = round(validation_fraction * len(patients))
        validation += [patients[i] for i in sorted(order[:count])]
        train += [patients[i] for i in sorted(order[count:])]
    return Split(train, validation, test)
