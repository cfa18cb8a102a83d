"""What baselines across hospitals read of patients, and their tables beside the model's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune import baseline
from finetune.baselines.comparison import beside
from finetune.experts.responses import Hazard, Label
from finetune.features import FeatureCache
from finetune.federated.baselines import Fits
from finetune.federated.tables import Seen
from finetune.figures import figures_of_tables
from finetune.heads.base import Head
from finetune.heads.multilabel import MultiLabel
from finetune.heads.regression import Regression
from finetune.patients import target_columns
from finetune.predictor import TaskModel
from finetune.reliability.novelty import Novelty
from finetune.statistics.base import Column, Tables
from finetune.statistics.survival import TIMES
from foundation.data.cohort import Cohort
from foundation.data.dictionary import DataDictionary
from foundation.statistics.figure import Support
from foundation.statistics.grid import Grid
from foundation.statistics.table import Floats
from foundation.statistics.weights import poisson_weights

_AGE = 60.0  # of who has none: no hospital knows the median of all
_PLAIN = 32  # features of a block that are read as they are; of more, the leading axes
_FARTHEST = 10.0  # spreads


@dataclass(frozen=True)
class Declared:
    """Baselines of a model, as all hospitals fit them.

    Attributes:
        outputs: of the task, each of which has a regression of its own.
        hazards: whether they are hazards, so that the regression is Cox's.
        labels: of the baselines, in order; each goes by its place in messages.
        blocks: of all but the first, which is age and sex, places among the blocks of the model's reliability.
        times: grid of Cox regression.
    """

    outputs: int
    hazards: bool
    labels: list[str]
    blocks: list[int]
    times: Grid

    @classmethod
    def of(cls, model: TaskModel, dictionary: DataDictionary, modalities: Sequence[str]) -> "Declared | None":
        """Those of a model; None where there are none.

        Args:
            model: that is evaluated.
            dictionary: of the cohort, whose record may name age and sex.
            modalities: whose blocks are baselines.
        """
        labels: list[str] = []
        if {"age", "sex"} <= {column.name for column in dictionary.record}:
            labels.append("age and sex")
        blocks: list[int] = []
        if model.reliability is not None:
            for place, (modality, block, _) in enumerate(model.reliability.blocks):
                if modality in modalities and _axes(model.reliability.novelty[place]):  # type: ignore[arg-type]
                    blocks.append(place)
                    labels.append(f"ridge on {block}")
        responses = model.head.ranking_responses({name: np.zeros(0) for name in model.head.targets})
        hazards = isinstance(responses[0], Hazard)
        return cls(len(responses), hazards, labels, blocks, TIMES) if labels else None

    def designs(
        self, model: TaskModel, cohort: Cohort, patients: Sequence[str], folder: Path | None
    ) -> dict[str, Floats]:
        """By place, `[patients, width]`, NaN for who lacks what the baseline reads."""
        columns: list[Floats] = []
        if len(self.labels) > len(self.blocks):
            columns.append(baseline.covariates(cohort, list(patients), _AGE).to_numpy(dtype=np.float64))
        if self.blocks:
            assert model.reliability is not None
            cache = FeatureCache(folder, model.encoder, cohort, model.task["drop_inputs"])
            for place in self.blocks:
                modality = model.reliability.blocks[place][0]
                before = [one for one in model.reliability.blocks[:place] if one[0] == modality]
                start = sum(size for _, _, size in before)
                size = model.reliability.blocks[place][2]
                values = cache.of(list(patients), [modality])[:, start : start + size]
                columns.append(_read(model.reliability.novelty[place], values))  # type: ignore[arg-type]
        ones = np.ones((len(patients), 1))
        if not self.hazards:
            columns = [np.concatenate([ones, some], axis=1) for some in columns]
        return {str(place): some for place, some in enumerate(columns)}

    def fits(self, model: TaskModel, cohort: Cohort, patients: Sequence[str], folder: Path | None) -> Fits:
        """By baseline's place and output, what a regression reads of patients and what it explains."""
        designs = self.designs(model, cohort, patients, folder)
        responses = model.head.ranking_responses(target_columns(cohort, patients, model.head))
        return {
            fit_name(place, output): (design, response)
            for place, design in designs.items()
            for output, response in enumerate(responses)
        }

    def tables(
        self, model: TaskModel, seen: Seen, designs: Mapping[str, Floats], beta: Mapping[str, NDArray[Any]], draws: Any
    ) -> dict[str, Tables]:
        """By group, tables of each baseline and of the model, of the patients who have what the baseline reads.

        Args:
            model: that is evaluated.
            seen: test patients as it sees them.
            designs: of the same patients.
            beta: coefficients by baseline's place and output.
            draws: replicates and key of the bootstrap.
        """
        statistics = model.head.statistics().ranking()
        groups: dict[str, Tables] = {}
        for place in map(str, range(len(self.labels))):
            rows = np.flatnonzero(~np.isnan(designs[place]).any(axis=1))
            by_output = [designs[place][rows] @ beta[fit_name(place, output)] for output in range(self.outputs)]
            theirs = estimates_of(model.head, np.stack(by_output, axis=1))
            targets = {name: column[rows] for name, column in seen.targets.items()}
            hospitals = [seen.hospitals[row] for row in rows]
            weights = poisson_weights([seen.patients[row] for row in rows], *draws)
            for name, estimates in ((f"baseline {place}", theirs), (f"model {place}", seen.estimates[rows])):
                groups[name] = statistics.tables(targets, estimates, hospitals, weights.astype(np.uint8))
        return groups

    def nobody(self, model: TaskModel) -> dict[str, Floats]:
        """Designs without a patient, which tell how wide they are."""
        columns = [np.zeros((0, 3))] if len(self.labels) > len(self.blocks) else []
        for place in self.blocks:
            assert model.reliability is not None
            block = model.reliability.novelty[place]
            columns.append(_read(block, np.zeros((0, len(block.mean)))))  # type: ignore[arg-type]
        ones = 0 if self.hazards else 1
        return {str(place): np.zeros((0, some.shape[1] + ones)) for place, some in enumerate(columns)}

    @property
    def groups(self) -> list[str]:
        """Names of the groups of `tables`."""
        return [f"{who} {place}" for place in range(len(self.labels)) for who in ("baseline", "model")]

    def rows(self, model: TaskModel, total: Mapping[str, Tables], support: Support) -> dict[str, Any]:
        """By label: the baseline's figure, the model's of the same patients, and by how much that exceeds it."""
        statistics = model.head.statistics().ranking()
        rows = {}
        for place, label in enumerate(self.labels):
            theirs, ours = (
                figures_of_tables(statistics, total[f"{who} {place}"], support) for who in ("baseline", "model")
            )
            measure = ours.measures[statistics.primary]
            rows[label] = beside(ours, theirs, statistics.primary, {"n": measure.n, **measure.outcomes})
        return rows

    def empty(self, model: TaskModel, replicates: int) -> dict[str, Tables]:
        """The same of nobody: what a sum is read with."""
        statistics = model.head.statistics().ranking()
        return {name: statistics.empty(replicates) for name in self.groups}


def fit_name(place: str, output: int) -> str:
    """Of a baseline's regression for one output of the task."""
    return f"{place}.{output}"


def estimates_of(head: Head, linear: Floats) -> Column:
    """A baseline's estimates, as the head's statistics take those that rank, from linear predictors.

    Args:
        head: of the model; of a quantity, it knows the unit.
        linear: log hazards, log-odds, or a quantity in units of its spread, `[patients, outputs]`.
    """
    responses = head.ranking_responses({name: np.zeros(0) for name in head.targets})
    if isinstance(responses[0], Label):
        linear = np.exp(-np.logaddexp(0, -linear))
    elif isinstance(head, Regression):
        linear = head.quantity(torch.from_numpy(linear[:, 0])).numpy()[:, None]
    return linear if linear.shape[1] > 1 or isinstance(head, MultiLabel) else linear[:, 0]


def _axes(block: Novelty) -> int:
    """Leading axes that a block has; none where too few patients had it."""
    return int(block.variance.isfinite().sum()) if float(block.rotation.abs().sum()) else 0


def _read(block: Novelty, values: Floats) -> Floats:
    """Standardised features of a small block, else places on its leading axes in their spreads; NaN where it lacks."""
    mean, scale = block.mean.double().numpy(), block.scale.double().numpy()
    standard = np.clip(np.nan_to_num((values - mean) / scale), -_FARTHEST, _FARTHEST)
    count = _axes(block)
    if values.shape[1] > _PLAIN:
        spread = np.sqrt(block.variance[:count].double().numpy())
        standard = standard @ block.rotation[:, :count].double().numpy() / spread
    lacks = np.asarray(np.isnan(values).all(axis=1))
    return np.where(lacks[:, None], np.nan, standard)
