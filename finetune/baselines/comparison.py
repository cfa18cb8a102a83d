"""The model beside every baseline, each on the test patients who have what the baseline reads, and beside controls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.baselines.base import estimates
from finetune.baselines.controls import hospital_probe, shuffled
from finetune.baselines.probes import probes
from finetune.baselines.sources import baselines_of
from finetune.features import FeatureCache, feature_scores
from finetune.figures import Figures, interval
from finetune.heads.base import Head
from finetune.metrics import Column
from finetune.patients import target_columns


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Args:
        head: of the model.
        features: of the cohort by the model's encoder.
        modalities: that the task may look at.
        train: patients that baselines learn from: those who trained or validated the model.
        test: patients.
        estimates: the model's, `[test]` or `[test, outputs]`.
        figures: of a model that ranks these test patients, from its estimates for them.
        seed: of what controls draw.
    """

    head: Head
    features: FeatureCache
    modalities: list[str]
    train: list[str]
    test: list[str]
    estimates: Column
    figures: Callable[[list[str], Column], Figures]
    seed: int

    def baselines(self) -> dict[str, Any]:
        """By baseline: patients, outcomes, the primary metric, the model's on the same patients, and its gain."""
        cohort = self.features.cohort
        targets = target_columns(cohort, self.train, self.head)
        hospitals = cohort.patients.loc[self.train, "hospital"].tolist()
        rows = {}
        for baseline in baselines_of(self.features, self.modalities):
            fitted = estimates(self.head, baseline, self.train, targets, hospitals, self.test)
            if fitted is not None:
                present, plain = fitted
                rows[baseline.name] = self._row(present, plain)
        return rows

    def controls(self) -> dict[str, Any]:
        """Modalities of other patients of the same hospital together, and what tells the hospital, by modality."""
        cohort = self.features.cohort
        result: dict[str, Any] = {}
        hospitals = cohort.patients.loc[self.test, "hospital"].to_numpy(dtype=str)
        if self.head.reads_features and len(self.modalities) > 1:
            sizes = [sum(self.features.encoder.feature_sizes([name]).values()) for name in self.modalities]
            mixed = shuffled(self.features.of(self.test, self.modalities), sizes, hospitals, self.seed)
            everybody = np.ones(len(self.test), dtype=bool)
            result["shuffled pairs"] = self._row(everybody, feature_scores(self.head, mixed))
        train = cohort.patients.loc[self.train, "hospital"].to_numpy(dtype=str)
        for name in self.modalities:
            values = self.features.of(self.train, [name])
            present = ~np.isnan(values).all(axis=1)
            probe = hospital_probe(values[present], train[present]) if present.any() else {}
            if probe:
                result[f"hospital from {name}"] = probe
        return result

    def probes(self) -> dict[str, Any]:
        """By modality, what its plain features tell without a fit (`finetune.baselines.probes`)."""
        columns = [target_columns(self.features.cohort, patients, self.head) for patients in (self.train, self.test)]
        tables = {}
        for name in self.modalities:
            train, test = (self.features.of(patients, [name]) for patients in (self.train, self.test))
            probed = probes(self.head, train, columns[0], test, columns[1], self.seed)
            if probed:
                tables[name] = probed
        return tables

    def _row(self, present: NDArray[np.bool_], plain: Column) -> dict[str, Any]:
        who = [patient for patient, there in zip(self.test, present, strict=True) if there]
        columns = target_columns(self.features.cohort, who, self.head)
        name = next(iter(self.head.metrics()))
        ours, theirs = self.figures(who, self.estimates[present]), self.figures(who, plain)
        counts = {"n": len(who), **self.head.outcomes(self.head.count(columns))}
        return beside(ours, theirs, name, counts)


def beside(ours: Figures, theirs: Figures, name: str, counts: dict[str, int]) -> dict[str, Any]:
    """A table's row of a baseline: its figure, the model's of the same patients, and by how much that exceeds it."""
    gain = ours.less(theirs, name)
    unknown = {"value": None, "low": None, "high": None}
    return {
        **counts,
        name: interval(theirs.figure(name)),
        "model": {name: interval(ours.figure(name))},
        "gain": {name: unknown if gain is None else {"value": gain.value, "low": gain.low, "high": gain.high}},
    }


def verdict(result: dict[str, Any], metric: str) -> str:
    """Which baselines of an evaluation beat the model on the patients whom they know; empty where none does."""
    rows = dict(result["baselines"])
    if result["baseline"]:
        rows["age and sex"] = {**result["baseline"], "model": result["overall"], "n": result["n"]}
    return beaten_words(rows, metric)


def beaten_words(baselines: dict[str, Any], metric: str) -> str:
    """The same of rows of baselines."""
    beaten = []
    for name, row in baselines.items():
        gain = row["gain"][metric]["value"]
        if gain is not None and gain < 0:
            theirs, ours = row[metric]["value"], row["model"][metric]["value"]
            beaten.append((gain, f"{name} ({metric} {theirs:.3f} against {ours:.3f}, {row['n']} patients)"))
    return f"Beaten by a baseline: {'; '.join(words for _, words in sorted(beaten))}." if beaten else ""
