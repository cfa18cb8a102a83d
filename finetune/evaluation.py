"""Evaluation on patients that training never saw: overall, by hospital, by what a patient has, beside a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from finetune import baseline
from finetune.heads.classification import Classification
from finetune.heads.survival import Survival
from finetune.metrics import Column, Interval, bootstrap, classification_metrics, survival_metrics
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
        head = self.model.head
        if isinstance(head, Classification):
            self.targets, self.metrics = [head.target], classification_metrics()
        elif isinstance(head, Survival):
            self.targets, self.metrics = [head.event, head.time], survival_metrics()
        self.primary = next(iter(self.metrics))
        self.train = self._known(self.train)
        self.test = self._known(self.test)
        if len(self.test) < 2:
            raise UserError(
                f"task {self.model.task['name']}: {len(self.test)} test patients have a target; "
                "hold another hospital out (data.test_hospitals of python -m finetune)"
            )

    def run(self) -> dict[str, Any]:
        """Every table of the evaluation."""
        risk = self.test_risk
        hospitals = self.cohort.patients.loc[self.test, "hospital"].to_numpy()
        return {
            "n": len(self.test),
            "events": self._events(self.test),
            "overall": self._intervals(self.test, risk, list(self.metrics)),
            "by_hospital": {
                hospital: self._group(np.array(self.test)[hospitals == hospital].tolist(), risk[hospitals == hospital])
                for hospital in self.cohort.hospitals
                if (hospitals == hospital).any()
            },
            "by_modality": self._by_modality(),
            "baseline": self._baseline(risk),
        }

    @cached_property
    def test_risk(self) -> Column:
        """The risk of the test patients from all that they have: `[test]`."""
        return self.risk(self.test, self.model.task["modalities"])

    def risk(self, patients: Sequence[str], modalities: Sequence[str]) -> Column:
        """What the model ranks patients by, from these modalities alone: `[patients]`."""
        dataset = self._dataset(patients, modalities)
        samples = [dataset[index]["sample"] for index in range(len(dataset))]
        parts = [self.model.scores(samples[start : start + _BATCH]) for start in range(0, len(samples), _BATCH)]
        return np.concatenate([self.model.head.risk(part).numpy().astype(np.float64) for part in parts])

    def _known(self, patients: list[str]) -> list[str]:
        """Those whose target is known and who have anything that the task may look at."""
        known = self.cohort.patients.loc[patients, self.targets].notna().all(axis=1)
        return self._dataset(known.index[known].tolist(), self.model.task["modalities"]).patients

    def _dataset(self, patients: Sequence[str], modalities: Sequence[str]) -> PatientDataset:
        return PatientDataset(self.cohort, patients, modalities, drop_inputs=self.model.task["drop_inputs"])

    def columns(self, patients: Sequence[str]) -> list[Column]:
        """The targets: `[patients]` each."""
        table = self.cohort.patients.loc[list(patients)]
        return [table[name].to_numpy(dtype=np.float64) for name in self.targets]

    def _intervals(self, patients: Sequence[str], risk: Column, names: Sequence[str]) -> dict[str, Interval]:
        targets = self.columns(patients)
        return {name: bootstrap(self.metrics[name], targets, [risk], self.resamples, self.seed) for name in names}

    def _events(self, patients: Sequence[str]) -> int:
        return int(self.cohort.patients.loc[list(patients), self.targets[0]].sum())

    def _group(self, patients: list[str], risk: Column) -> dict[str, Any]:
        return {"n": len(patients), "events": self._events(patients), **self._intervals(patients, risk, [self.primary])}

    def _by_modality(self) -> dict[str, Any]:
        """All modalities, each alone, and all but each; every row over the patients who have any of them."""
        names = list(self.model.task["modalities"])
        subsets = {"all": names, **{f"{name} alone": [name] for name in names}}
        if len(names) > 2:
            subsets |= {f"all but {name}": [other for other in names if other != name] for name in names}
        found = {}
        for label, subset in subsets.items():
            patients = self._dataset(self.test, subset).patients
            if len(patients) > 1:
                found[label] = self._group(patients, self.risk(patients, subset))
        return found

    def _baseline(self, risk: Column) -> dict[str, Any]:
        """Age and sex on the same split, and by how much the model exceeds them on the same resampled patients."""
        if not baseline.usable(self.cohort):
            return {}
        head = self.model.head
        if isinstance(head, Survival):
            plain = baseline.survival_baseline(self.cohort, self.train, self.test, head.event, head.time)
        else:
            plain = baseline.classification_baseline(self.cohort, self.train, self.test, self.targets[0])
        metric = self.metrics[self.primary]

        def gain(*given: Column) -> float:
            *targets, ours, theirs = given
            return metric(*targets, ours) - metric(*targets, theirs)

        return {
            "inputs": ["age", "sex"],
            **self._intervals(self.test, plain, list(self.metrics)),
            "gain": {self.primary: bootstrap(gain, self.columns(self.test), [risk, plain], self.resamples, self.seed)},
        }
