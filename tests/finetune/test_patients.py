"""Whom a head can learn from."""

import numpy as np
import pytest

from finetune.heads.base import TargetCounts
from finetune.heads.classification import Classification
from finetune.heads.survival import Survival
from finetune.patients import count_modalities, patients_with_target, target_columns, told_outcomes
from foundation.errors import UserError


def test_patients_with_a_target_unknown_or_nothing_to_look_at_are_left_out(cohort, monkeypatch):
    table = cohort.patients.astype({"os_days": float, "os_event": float})
    table.iloc[0, table.columns.get_loc("os_days")] = np.nan
    monkeypatch.setattr(cohort, "patients", table)
    patients = list(table.index)
    usable = patients_with_target(cohort, patients, Survival(8), ["genomics"], {}).patients
    assert usable == [patient for patient in patients[1:] if table.loc[patient, "genomics"]]
    columns = target_columns(cohort, patients, Survival(8))
    assert list(columns) == ["os_event", "os_days"]
    assert np.isnan(columns["os_days"][0]) and columns["os_event"][0] == table["os_event"].iloc[0]


def test_patients_are_counted_by_what_the_task_reads_of_them(cohort):
    part = patients_with_target(cohort, list(cohort.patients.index), Classification(8, "biomarker"), ["genomics"], {})
    assert count_modalities(part) == {"genomics": len(part)}
    both = patients_with_target(
        cohort, list(cohort.patients.index), Classification(8, "biomarker"), ["genomics", "record"], {}
    )
    assert count_modalities(both)["genomics"] == len(part) < len(both)


def test_a_target_that_the_cohort_lacks_is_named(cohort):
    with pytest.raises(UserError, match="target 'idh' is no label of demo; it has biomarker, os_event, os_days"):
        patients_with_target(cohort, list(cohort.patients.index), Classification(8, "idh"), ["record"], {})


@pytest.mark.parametrize(
    ("by_value", "synthetic", "told"),
    [
        ({0.0: 20, 1.0: 12}, False, {"events": 12}),
        ({0.0: 20, 1.0: 4}, False, {"events": None}),  # four persons
        ({0.0: 3, 1.0: 29}, False, {"events": None}),  # three, by subtraction
        ({0.0: 20, 1.0: 4}, True, {"events": 4}),
        ({0.0: 20, 1.0: 0}, False, {"events": 0}),
    ],
)
def test_counts_of_outcomes_that_would_tell_of_a_few_persons_are_withheld(by_value, synthetic, told):
    counts = TargetCounts(int(sum(by_value.values())), {"biomarker": by_value})
    assert told_outcomes(Classification(8, "biomarker"), counts, synthetic) == told
