"""What a baseline is fitted on, and when there is none."""

import numpy as np
import pytest

from finetune.baselines.base import Baseline, estimates
from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.heads.survival import Survival

PATIENTS = [f"p{number}" for number in range(60)]
VALUES = np.random.default_rng(0).normal(size=(60, 5))
HOSPITALS = np.repeat(["a", "b", "c"], 20).tolist()
DAYS = np.random.default_rng(1).integers(1, 900, 60).astype(float)
LATE = (np.arange(60) >= 30).astype(float)


def estimated(head: Head, targets: dict[str, np.ndarray], known: np.ndarray, components: int | None = None):
    values = np.where(known[:, None], VALUES, np.nan)
    baseline = Baseline("five", lambda patients: values[: len(patients)], components)
    return estimates(head, baseline, PATIENTS, targets, HOSPITALS, PATIENTS)


@pytest.mark.parametrize("components", [None, 2])
def test_patients_who_have_the_block_and_no_event_make_no_baseline(components):
    targets = {"os_event": LATE, "os_days": DAYS}
    assert estimated(Survival(8), targets, np.arange(60) < 30, components) is None
    assert estimated(Survival(8), targets, np.arange(60) >= 0, components) is not None


@pytest.mark.parametrize("components", [None, 2])
@pytest.mark.parametrize("count", [0, 1, 19])
def test_a_block_that_too_few_have_is_no_baseline(count, components):
    assert estimated(Classification(8, "label"), {"label": LATE}, np.arange(60) < count, components) is None
