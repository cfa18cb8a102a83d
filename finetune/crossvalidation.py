"""Cross-validation of a task: predictions of every fold's test patients, by the model and by baselines."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from finetune.assemble import blocks_of, build_head
from finetune.baselines.base import estimates
from finetune.baselines.comparison import beaten_words, beside
from finetune.baselines.sources import baselines_of
from finetune.features import FeatureCache, feature_scores
from finetune.figures import Figures, Resampling, figures, interval
from finetune.fit import fit
from finetune.folds import fold_config
from finetune.heads.base import Head
from finetune.metrics import Column
from finetune.patients import patients_with_target, target_columns
from finetune.predictor import TaskModel
from foundation.command import plain
from foundation.data.cohort import Cohort
from foundation.data.splits import Split
from foundation.encoder import MultimodalEncoder
from foundation.engine.trainer import seeded
from foundation.errors import UserError
from foundation.statistics.figure import Support

_BATCH = 64


@dataclass
class Predictions:
    """Estimates of patients, in the order of folds."""

    patients: list[str] = field(default_factory=list)
    values: list[Column] = field(default_factory=list)
    folds: list[str] = field(default_factory=list)

    def add(self, fold: str, patients: list[str], values: Column) -> None:
        """Takes in a fold's test patients."""
        self.patients += patients
        self.values.append(values)
        self.folds += [fold] * len(patients)

    @property
    def estimates(self) -> Column:
        """`[patients]` or `[patients, outputs]`."""
        return np.concatenate(self.values)


class CrossValidation:
    """Folds of one task, one after another.

    Args:
        cfg: of `python -m finetune.crossvalidate`.
        folder: of the pretrained encoder, read anew for each fold that trains it.
        cohort: prepared.
        modalities: that the task may look at.
    """

    def __init__(self, cfg: DictConfig, folder: Path, cohort: Cohort, modalities: list[str]) -> None:
        self.cfg = cfg
        self.folder = folder
        self.cohort = cohort
        self.modalities = modalities
        self.hidden = plain(cfg.task.drop_inputs) if cfg.task.drop_inputs else {}
        encoder = MultimodalEncoder.from_pretrained(folder)
        kept = None if cfg.embeddings is None else Path(cfg.embeddings)
        self.features = FeatureCache(kept, encoder, cohort, self.hidden)
        self.head = self._head(encoder)
        self.model = Predictions()
        self.baselines: dict[str, Predictions] = defaultdict(Predictions)

    def _head(self, encoder: MultimodalEncoder) -> Head:
        with seeded(self.cfg.seed):
            return build_head(self.cfg.task, encoder.width, blocks_of(self.cfg, encoder, self.modalities))

    def add(self, number: int, name: str, fold: Split) -> None:
        """Trains and tests one fold."""
        train, validation, test = (
            patients_with_target(self.cohort, part, self.head, self.modalities, self.hidden)
            for part in (fold.train, fold.validation, fold.test)
        )
        if not len(test):
            return
        encoder = MultimodalEncoder.from_pretrained(self.folder)
        head = self._head(encoder)
        counts = head.count(target_columns(self.cohort, train.patients, head))
        head.check(counts)
        head.set_counts(counts)
        module, _ = fit(fold_config(self.cfg, number), encoder, head, train, validation)
        if head.reads_features:
            values = feature_scores(head.eval(), self.features.of(test.patients, self.modalities))
        else:
            task = {"name": self.cfg.task.name, "modalities": self.modalities, "drop_inputs": self.hidden}
            model = TaskModel(module.encoder, module.head, task, subsets=module.subsets)
            samples = [test.sample(patient) for patient in test.patients]
            parts = [model.scores(samples[start : start + _BATCH]) for start in range(0, len(samples), _BATCH)]
            values = np.concatenate([head.estimate(part).numpy().astype(np.float64) for part in parts])
        self.model.add(name, test.patients, values)
        self._add_baselines(name, [*train.patients, *validation.patients], test.patients)

    def _add_baselines(self, name: str, train: list[str], test: list[str]) -> None:
        targets = target_columns(self.cohort, train, self.head)
        hospitals = self.cohort.patients.loc[train, "hospital"].tolist()
        for baseline in baselines_of(self.features, self.modalities):
            fitted = estimates(self.head, baseline, train, targets, hospitals, test)
            if fitted is not None:
                who = [patient for patient, there in zip(test, fitted[0], strict=True) if there]
                self.baselines[baseline.name].add(name, who, fitted[1])

    def result(self) -> dict[str, Any]:
        """The table, as JSON can hold it.

        Raises:
            UserError: if no fold tested anybody.
        """
        if not self.model.patients:
            raise UserError(
                f"task {self.cfg.task.name}: no fold has a test patient with a target; choose other folds (by, "
                "data.test_hospitals, split_files)"
            )
        primary = next(iter(self.head.metrics()))
        folds = [self._fold(name, primary) for name in dict.fromkeys(self.model.folds)]
        defined = [fold[primary]["value"] for fold in folds if fold[primary]["value"] is not None]
        shown = self._figures(self.model)
        overall = {name: interval(shown.figure(name)) for name in self.head.metrics() if name in shown.measures}
        baselines = {name: self._row(predictions, primary) for name, predictions in self.baselines.items()}
        return {
            "metric": primary,
            "n": len(set(self.model.patients)),
            "beaten": beaten_words(baselines, primary),
            "folds": folds,
            "overall": overall,
            "mean": {
                "value": float(np.mean(defined)) if defined else None,
                "sd": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
                "folds": len(defined),
            },
            "baselines": baselines,
        }

    def predictions(self) -> pd.DataFrame:
        """Every tested patient's estimate, with fold and hospital."""
        values = self.model.estimates.reshape(len(self.model.patients), -1)
        columns = {f"estimate_{index}": values[:, index] for index in range(values.shape[1])}
        hospitals = self.cohort.patients.loc[self.model.patients, "hospital"].tolist()
        return pd.DataFrame(
            {"patient_id": self.model.patients, "hospital": hospitals, "fold": self.model.folds, **columns}
        )

    def _fold(self, name: str, primary: str) -> dict[str, Any]:
        rows = np.array([fold == name for fold in self.model.folds])
        some = Predictions([p for p, row in zip(self.model.patients, rows, strict=True) if row])
        some.values = [self.model.estimates[rows]]
        return {"name": name, "n": len(some.patients), primary: interval(self._figures(some).figure(primary))}

    def _row(self, predictions: Predictions, primary: str) -> dict[str, Any]:
        """A baseline beside the model on the same patients and folds."""
        place = {key: row for row, key in enumerate(zip(self.model.folds, self.model.patients, strict=True))}
        rows = [place[key] for key in zip(predictions.folds, predictions.patients, strict=True)]
        ours = self._figures(Predictions(predictions.patients, [self.model.estimates[rows]]))
        return beside(ours, self._figures(predictions), primary, {"n": len(set(predictions.patients))})

    def _figures(self, predictions: Predictions) -> Figures:
        targets = target_columns(self.cohort, predictions.patients, self.head)
        hospitals = self.cohort.patients.loc[predictions.patients, "hospital"].tolist()
        support, times = Support(**plain(self.cfg.support)), max(Counter(predictions.patients).values())
        # Who is tested in several repeats stands in several rows, and is no more patients for that.
        support = replace(support, patients=times * support.patients, outcome=times * support.outcome)
        resampling = Resampling(support, self.cfg.resamples, self.cfg.seed)
        ranks = self.head.statistics().ranking()
        return figures(ranks, targets, predictions.estimates, predictions.patients, hospitals, resampling)
