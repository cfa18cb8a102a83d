"""Evaluation on patients that training never saw: overall, by group, by what a patient has, beside a baseline."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from finetune import baseline
from finetune.baselines.comparison import Comparison
from finetune.features import FeatureCache, feature_scores
from finetune.figures import Figures, Resampling, figures, interval
from finetune.gaps import gap
from finetune.heads.base import Columns
from finetune.metrics import Column
from finetune.patients import patients_with_target, target_columns
from finetune.predictor import TaskModel
from finetune.reliability.evaluation import ABSTAINED, answer_columns
from finetune.reliability.module import Reading
from finetune.results import BASELINE, FORMAT, Source, comparison_rows, figure_rows, prediction_rows, with_abstentions
from finetune.statistics.base import TaskStatistics
from finetune.statistics.reliability import ReliabilityStatistics
from finetune.subgroups import groups, subsets
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError
from foundation.statistics.comparison import Difference
from foundation.statistics.figure import Support

_BATCH = 64


@dataclass
class Evaluator:
    """One task model against one set of patients.

    Args:
        model: fine-tuned.
        cohort: prepared, the one it was fine-tuned on.
        train: ids of who trained or validated it, for the baselines.
        test: ids that neither training nor validation saw.
        resamples: of each bootstrap.
        seed: of both.
        support: below which there is no figure.
        exact: figures of unrounded scores and times; else of the declared grids, as hospitals sum them.
        age_bands: years at which a new band begins.
        subgroups: further columns by which figures are told.
        source: where the model lies, as results name it.
        folder: where features are kept; in memory if None.
        trained: modalities that a patient trained; others are not read. All that the task looks at if None.
    """

    model: TaskModel
    cohort: Cohort
    train: list[str]
    test: list[str]
    resamples: int = 1000
    seed: int = 0
    support: Support = field(default_factory=Support)
    exact: bool = True
    age_bands: Sequence[float] = (50, 65)
    subgroups: Sequence[str] = ()
    source: str = ""
    folder: Path | None = None
    trained: Collection[str] | None = None

    def __post_init__(self) -> None:
        looked_at = self.model.task["modalities"]
        self.modalities = [name for name in looked_at if self.trained is None or name in self.trained]
        self.ignored = [name for name in looked_at if name not in self.modalities]
        if not self.modalities:
            raise UserError(
                f"task {self.model.task['name']}: no run record counts a patient who trained any of "
                f"{', '.join(looked_at)}; run python -m finetune again, on a cohort that has them"
            )
        self.head = self.model.head
        self.metrics = self.head.metrics()
        self.primary = next(iter(self.metrics))
        self.statistics = self.head.statistics()
        self.train, self.test = self._usable(self.train), self._usable(self.test)
        if len(self.test) < 2:
            raise UserError(
                f"task {self.model.task['name']}: {len(self.test)} test patients have a target; "
                "hold another hospital out (data.test_hospitals of python -m finetune)"
            )
        facts = (self.model.task["name"], self.source, self.cohort.name, self.cohort.digest)
        self._origin = Source(*facts, "test", self.seed)
        self._clear()

    def _clear(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._tests: list[dict[str, Any]] = []
        self._curves: dict[str, Any] = {}
        self._gaps: dict[str, Any] = {}
        self.predictions: list[pd.DataFrame] = []

    def run(self) -> dict[str, Any]:
        """The main tables of the evaluation; `results` and `predictions` hold all that it came to."""
        self._clear()
        estimates = self.test_estimates
        whole = self._figures(self.test, estimates)
        self._curves = whole.curves
        self._rows += figure_rows(self._origin, whole)
        by_group = self._by_group(estimates)
        hospitals = by_group.pop("hospital")
        return {
            "n": len(self.test),
            **self._outcomes(self.test),
            "overall": {name: interval(whole.figure(name)) for name in self.metrics},
            "new_hospital": {name: interval(whole.new_hospital(name)) for name in self.metrics},
            "by_hospital": {name: hospitals[name] for name in self.cohort.hospitals if name in hospitals},
            "by_modality": self._by_modality(whole),
            "by_group": by_group,
            "gaps": self._gaps,
            "reliability": self.reliability(),
            "calibration": self.calibration(),
            "baseline": self._baseline(whole, estimates),
            "baselines": self.comparison.baselines(),
            "controls": self.comparison.controls(),
            "probes": self.comparison.probes(),
        }

    @cached_property
    def test_estimates(self) -> Column:
        """The head's estimates for the test patients from all that they have: `[test]` or `[test, outputs]`."""
        return self.estimates(self.test, self.modalities)

    @cached_property
    def features(self) -> FeatureCache:
        """Plain features of the cohort, by which experts predict and baselines are fitted."""
        return FeatureCache(self.folder, self.model.encoder, self.cohort, self.model.task["drop_inputs"])

    @cached_property
    def comparison(self) -> Comparison:
        """The model beside baselines and controls."""
        patients, estimates = (self.train, self.test), self.test_estimates
        return Comparison(self.head, self.features, self.modalities, *patients, estimates, self._ranks, self.seed)

    def estimates(self, patients: Sequence[str], modalities: Sequence[str]) -> Column:
        """The head's estimates from these modalities alone: `[patients]` or `[patients, outputs]`."""
        if self.head.reads_features:
            return feature_scores(self.head, self.features.subset(patients, self.model.task["modalities"], modalities))
        dataset = self._dataset(patients, modalities)
        samples = [dataset[index]["sample"] for index in range(len(dataset))]
        parts = [self.model.scores(samples[start : start + _BATCH]) for start in range(0, len(samples), _BATCH)]
        return np.concatenate([self.head.estimate(part).numpy().astype(np.float64) for part in parts])

    def reading(self, patients: Sequence[str], modalities: Sequence[str]) -> Reading:
        """Patients as the model reads them, from these modalities alone."""
        names = self.model.task["modalities"]
        if self.head.reads_features:
            values = torch.from_numpy(self.features.subset(patients, names, modalities)).float()
            has = self.cohort.patients.loc[list(patients), names].to_numpy(dtype=bool)
            present = torch.from_numpy(has & np.isin(names, list(modalities)))
            with torch.no_grad():
                return Reading(self.head(values), present, values)
        samples = [row["sample"] for row in self._dataset(patients, modalities)]  # type: ignore[attr-defined]
        parts = [samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH)]
        return Reading.joined([self.model.read(self.model.encoder.encode_samples(part)) for part in parts])

    def columns(self, patients: Sequence[str]) -> Columns:
        """The targets, `[patients]` each."""
        return target_columns(self.cohort, patients, self.head)

    def results(self) -> dict[str, Any]:
        """What `run` came to, every figure with what it rests on."""
        return {
            "format": FORMAT,
            "task": self.model.task["name"],
            "kind": self.head.kind,
            "grid": "exact" if self.exact else "declared",
            "support": vars(self.support),
            "figures": self._rows,
            "comparisons": self._tests,
            "curves": self._curves,
            "calibration": self.calibration(),
        }

    def predict(self, split: str, patients: Sequence[str]) -> None:
        """Adds predictions of patients from all that they have, for those who are not test patients."""
        if usable := self._usable(list(patients)):
            self._keep(usable, self.estimates(usable, self.modalities), split, "all")

    def _usable(self, patients: list[str]) -> list[str]:
        rest = (self.head, self.modalities, self.model.task["drop_inputs"])
        return patients_with_target(self.cohort, patients, *rest).patients

    def _dataset(self, patients: Sequence[str], modalities: Sequence[str]) -> PatientDataset:
        return PatientDataset(self.cohort, patients, modalities, drop_inputs=self.model.task["drop_inputs"])

    def _figures(self, patients: Sequence[str], estimates: Column, statistics: TaskStatistics | None = None) -> Figures:
        hospitals = self.cohort.patients.loc[list(patients), "hospital"].tolist()
        drawn = Resampling(self.support, self.resamples, self.seed, self.exact)
        return figures(statistics or self.statistics, self.columns(patients), estimates, patients, hospitals, drawn)

    def _ranks(self, patients: list[str], estimates: Column) -> Figures:
        return self._figures(patients, estimates, self.statistics.ranking())

    def _outcomes(self, patients: Sequence[str]) -> dict[str, int]:
        return self.head.outcomes(self.head.count(self.columns(patients)))

    def _group(self, patients: list[str], shown: Figures) -> dict[str, Any]:
        return {"n": len(patients), **self._outcomes(patients), self.primary: interval(shown.figure(self.primary))}

    def _by_group(self, estimates: Column) -> dict[str, dict[str, Any]]:
        """By hospital, sex, age band, what a patient has, and declared columns."""
        tables: dict[str, dict[str, Any]] = {}
        for group, levels in groups(self.cohort, self.test, self.modalities, self.age_bands, self.subgroups).items():
            tables[group], figures_of = {}, {}
            for level, inside in levels.items():
                patients = np.array(self.test)[inside].tolist()
                shown = self._figures(patients, estimates[inside])
                self._rows += figure_rows(self._origin, shown, group=group, level=level)
                tables[group][level] = self._group(patients, shown)
                figures_of[level] = shown
            between = None if group == "has" else gap(figures_of, self.primary)
            self._gaps |= {group: between} if between is not None else {}
        return tables

    def calibration(self) -> dict[str, str]:
        """By subset of modalities, on whom its temperature was fitted; empty where the head has one for all."""
        fitted = self.model.subsets
        return {} if fitted is None else fitted.by_label(subsets(self.modalities))

    def reliability(self) -> dict[str, Any]:
        """Coverage, flags, abstention and risk: overall, by hospital, and from each modality alone."""
        reliability = self.model.reliability
        if reliability is None:
            return {}
        statistics, regions = ReliabilityStatistics(reliability.coverage), self.head.regions()
        tables: dict[str, dict[str, Any]] = {"by_hospital": {}, "by_modality": {}}

        def row(patients: list[str], answers: Column, **place: str) -> dict[str, Any]:
            shown = self._figures(patients, answers, statistics)
            self._rows += figure_rows(self._origin, shown, **place)
            if not place:
                self._curves = {**self._curves, **shown.curves}
            return {"n": len(patients), **{name: interval(shown.figure(name)) for name in shown.measures}}

        alone = {f"{name} alone": [name] for name in self.modalities}
        for label, subset in {"all": self.modalities, **alone}.items():
            patients = self._dataset(self.test, subset).patients
            if not patients:
                continue
            answers = answer_columns(reliability, regions, self.reading(patients, subset), self.columns(patients))
            if label != "all":
                tables["by_modality"][label] = row(patients, answers, subset=label)
                continue
            tables["overall"] = row(patients, answers)
            self.predictions = with_abstentions(
                self.predictions, dict(zip(patients, answers[:, ABSTAINED], strict=True))
            )
            hospitals = self.cohort.patients.loc[patients, "hospital"].to_numpy()
            for name, inside in [(name, hospitals == name) for name in self.cohort.hospitals if name in hospitals]:
                some = [patient for patient, there in zip(patients, inside, strict=True) if there]
                tables["by_hospital"][name] = row(some, answers[inside], group="hospital", level=name)
        return {"coverage": reliability.coverage, **tables}

    def _by_modality(self, whole: Figures) -> dict[str, Any]:
        """By subset, over the patients who have any of it."""
        tables = {}
        for label, subset in subsets(self.modalities).items():
            if not (patients := self._dataset(self.test, subset).patients):
                continue
            estimates = self.test_estimates if label == "all" else self.estimates(patients, subset)
            self._keep(patients, estimates, "test", label)
            shown = whole
            if label != "all":
                shown = self._figures(patients, estimates)
                self._rows += figure_rows(self._origin, shown, subset=label)
            tables[label] = self._group(patients, shown)
        return tables

    def _baseline(self, whole: Figures, estimates: Column) -> dict[str, Any]:
        """Age and sex on the same split, and by how much the model exceeds them on the same resampled patients."""
        if not baseline.usable(self.cohort):
            return {}
        train, test = baseline.split_covariates(self.cohort, self.train, self.test)
        plain = self.head.baseline(train, self.columns(self.train), test)
        shown = self._figures(self.test, plain, self.statistics.ranking())
        self._rows += figure_rows(self._origin, shown, BASELINE)
        tests = {name: test for name in shown.measures if (test := whole.less(shown, name)) is not None}
        exact = self.statistics.exact_tests(self.columns(self.test), estimates, plain)
        tests |= {f"{name} (DeLong)": test for name, test in exact.items() if name in tests}
        self._tests += comparison_rows(self._origin, tests, len(self.test))
        gain = tests.get(self.primary, Difference(None, None, None, None, ""))
        return {
            "inputs": ["age", "sex"],
            **{name: interval(shown.figure(name)) for name in self.metrics},
            "gain": {self.primary: {"value": gain.value, "low": gain.low, "high": gain.high}},
        }

    def _keep(self, patients: Sequence[str], estimates: Column, split: str, subset: str) -> None:
        hospitals = self.cohort.patients.loc[list(patients), "hospital"].tolist()
        rows = prediction_rows(self.statistics, self.columns(patients), estimates, patients, hospitals, split, subset)
        self.predictions.append(rows)
