"""Evaluation on patients that training never saw: overall, by hospital, by what a patient has, beside a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from finetune import baseline
from finetune.heads.base import Columns
from finetune.metrics import Column, Interval, Metric, bootstrap
from finetune.patients import patients_with_target, target_columns
from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError

_BATCH = 64


@dataclass
class Evaluator:
    """One task model against one set of patients.

    Args:
        model: fine-tuned.
        cohort: prepared, the one it was fine-tuned on.
        train: ids, for the baseline.
        test: ids that neither training nor validation saw.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    model: TaskModel
    cohort: Cohort
    train: list[str]
    test: list[str]
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self.head = self.model.head
        self.metrics = self.head.metrics()
        self.primary = next(iter(self.metrics))
        self.train, self.test = self._usable(self.train), self._usable(self.test)
        if len(self.test) < 2:
            raise UserError(
                f"task {self.model.task['name']}: {len(self.test)} test patients have a target; "
                "hold another hospital out (data.test_hospitals of python -m finetune)"
            )

    def run(self) -> dict[str, Any]:
        """Every table of the evaluation."""
        estimates = self.test_estimates
        hospitals = self.cohort.patients.loc[self.test, "hospital"].to_numpy()
        return {
            "n": len(self.test),
            **self._outcomes(self.test),
            "overall": self._intervals(self.test, estimates, list(self.metrics)),
            "by_hospital": {
                hospital: self._group(
                    np.array(self.test)[hospitals == hospital].tolist(), estimates[hospitals == hospital]
                )
                for hospital in self.cohort.hospitals
                if (hospitals == hospital).any()
            },
            "by_modality": self._by_modality(),
            "baseline": self._baseline(estimates),
        }

    @cached_property
    def test_estimates(self) -> Column:
        """The head's estimates for the test patients from all that they have: `[test]` or `[test, outputs]`."""
        return self.estimates(self.test, self.model.task["modalities"])

    def estimates(self, patients: Sequence[str], modalities: Sequence[str]) -> Column:
        """The head's estimates from these modalities alone: `[patients]` or `[patients, outputs]`."""
        dataset = self._dataset(patients, modalities)
        samples = [dataset[index]["sample"] for index in range(len(dataset))]
        parts = [self.model.scores(samples[start : start + _BATCH]) for start in range(0, len(samples), _BATCH)]
        return np.concatenate([self.head.estimate(part).numpy().astype(np.float64) for part in parts])

    def columns(self, patients: Sequence[str]) -> Columns:
        """The targets, `[patients]` each."""
        return target_columns(self.cohort, patients, self.head)

    def _usable(self, patients: list[str]) -> list[str]:
        task = self.model.task
        return patients_with_target(self.cohort, patients, self.head, task["modalities"], task["drop_inputs"]).patients

    def _dataset(self, patients: Sequence[str], modalities: Sequence[str]) -> PatientDataset:
        return PatientDataset(self.cohort, patients, modalities, drop_inputs=self.model.task["drop_inputs"])

    def _intervals(self, patients: Sequence[str], estimates: Column, names: Sequence[str]) -> dict[str, Interval]:
        return {name: self._interval(self.metrics[name], patients, estimates) for name in names}

    def _interval(self, metric: Metric, patients: Sequence[str], *estimates: Column) -> Interval:
        return bootstrap(metric, list(self.columns(patients).values()), estimates, self.resamples, self.seed)

    def _outcomes(self, patients: Sequence[str]) -> dict[str, int]:
        return self.head.outcomes(self.head.count(self.columns(patients)))

    def _group(self, patients: list[str], estimates: Column) -> dict[str, Any]:
        intervals = self._intervals(patients, estimates, [self.primary])
        return {"n": len(patients), **self._outcomes(patients), **intervals}

    def _by_modality(self) -> dict[str, Any]:
        """All modalities, each alone, and all but each; every row over the patients who have any of them."""
        names = list(self.model.task["modalities"])
        subsets = {"all": names, **{f"{name} alone": [name] for name in names}}
        if len(names) > 2:
            subsets |= {f"all but {name}": [other for other in names if other != name] for name in names}
        groups = {}
        for label, subset in subsets.items():
            patients = self._dataset(self.test, subset).patients
            if len(patients) > 1:
                groups[label] = self._group(patients, self.estimates(patients, subset))
        return groups

    def _baseline(self, estimates: Column) -> dict[str, Any]:
        """Age and sex on the same split, and by how much the model exceeds them on the same resampled patients."""
        if not baseline.usable(self.cohort):
            return {}
        train, test = baseline.split_covariates(self.cohort, self.train, self.test)
        plain = self.head.baseline(train, self.columns(self.train), test)
        metric = self.metrics[self.primary]

        def gain(*columns: Column) -> float:
            *targets, ours, theirs = columns
            return metric.value(*targets, ours) - metric.value(*targets, theirs)

        return {
            "inputs": ["age", "sex"],
            **self._intervals(self.test, plain, list(self.metrics)),
            "gain": {self.primary: self._interval(Metric(gain, metric.defined), self.test, estimates, plain)},
        }
