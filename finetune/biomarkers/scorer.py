"""One number of a task model, as a function of what is shown of a patient.

Genes, tiles and words are each looked at in the score that the model gives for their modality alone: it takes any
subset, and what a patient's other modalities say already would hide what a gene says. How much each modality adds to
the others is told by Shapley values.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finetune.heads.classification import Classification
from finetune.heads.competing import CompetingRisks
from finetune.heads.discrete import DiscreteHazards
from finetune.heads.multilabel import MultiLabel
from finetune.predictor import TaskModel
from foundation.batch import Batch
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError
from foundation.files import read_json
from foundation.run_record import read_run


class Scorer:
    """A task model's score: log hazard, log-odds of a class or label, or a quantity in units of its spread.

    Args:
        folder: output of `python -m finetune`.
        cohort: that patients are of.
        output: class or label, where the model has several; the last class of two.

    Raises:
        UserError: if there is no such output.
    """

    def __init__(self, folder: Path, cohort: Cohort, output: str | None = None) -> None:
        self.folder, self.cohort = folder, cohort
        self.model = TaskModel.load(folder)
        self.model.encoder.requires_grad_(False)
        self.model.head.requires_grad_(False)
        self.head, self.encoder = self.model.head, self.model.encoder
        self.output, self.words = self._chosen(output)

    @property
    def modalities(self) -> list[str]:
        """Those that the task looks at."""
        return list(self.model.task["modalities"])

    @property
    def cache(self) -> Path | None:
        """Where the model's run kept features; None where it kept none."""
        kept = read_run(self.folder)["config"].get("embeddings")
        return Path(kept) if kept else None

    def trained_on(self) -> list[str]:
        """Patients whom the model has learnt from or was chosen by."""
        split = read_json(self.folder / "split.json", "run python -m finetune again", "train", "validation")
        return [*split["train"], *split["validation"]]

    def dataset(self, patients: Sequence[str], modalities: Sequence[str]) -> PatientDataset:
        """Those of the patients who have something of these modalities that the task may look at."""
        return PatientDataset(self.cohort, patients, modalities, drop_inputs=self.model.task["drop_inputs"])

    def scalar(self, scores: Tensor) -> Tensor:
        """The number of raw scores `[patients, outputs]`, of which more is more of the outcome: `[patients]`."""
        if isinstance(self.head, DiscreteHazards):
            return -self.head.estimate(scores).sum(dim=1)
        if isinstance(self.head, CompetingRisks):
            incidence: Tensor = self.head.estimate(scores).unflatten(1, (len(self.head.causes), -1))
            return incidence[:, self.output].sum(dim=1)
        if isinstance(self.head, Classification):
            others = [place for place in range(scores.shape[1]) if place != self.output]
            return scores[:, self.output] - scores[:, others].logsumexp(dim=1)
        return scores[:, self.output]

    def alone(self, modality: str, inputs: dict[str, Tensor]) -> Tensor:
        """Scores of patients of whom nothing else is known, `[patients]`, through which gradients pass."""
        count = len(next(iter(inputs.values())))
        everybody, nobody = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
        present = {name: everybody if name == modality else nobody for name in self.encoder.modalities}
        batch = Batch([str(row) for row in range(count)], present, {modality: inputs})
        return self.scalar(self.model.differentiable_scores(batch))

    @torch.no_grad()
    def samples(self, samples: Sequence[dict[str, Any]]) -> Tensor:
        """Scores of raw samples, what is hidden left out before: `[patients]`."""
        parts = [
            self.scalar(self.model.score_batch(self.encoder.encode_samples(list(samples[start : start + 16]))))
            for start in range(0, len(samples), 16)
        ]
        return torch.cat(parts)

    def _chosen(self, output: str | None) -> tuple[int, str]:
        """Position and name of what is looked at."""
        head = self.head
        if isinstance(head, MultiLabel):
            names = list(head.targets)
        elif isinstance(head, Classification):
            names = list(head.classes)
        elif isinstance(head, CompetingRisks):
            names = list(head.causes)
        else:
            return 0, {"survival": "log hazard"}.get(head.kind, head.targets[0])
        if output is None and isinstance(head, Classification) and len(names) == 2:
            output = names[-1]
        if output not in names:
            raise UserError(f"prediction: found {output!r}; the model has {', '.join(names)}, name one")
        words = "sum of incidences" if isinstance(head, CompetingRisks) else "log-odds"
        return names.index(output), f"{words} of {output}"
