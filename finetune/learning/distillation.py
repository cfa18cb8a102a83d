"""Distillation from the last release: on new patients, the scores that it gave stay near (Li and Hoiem 2016)."""

import copy
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from finetune.learning.base import Learning
from finetune.module import FinetuneModule
from finetune.predictor import TaskModel
from foundation.batch import Batch
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError


class Distillation(Learning):
    """Squared difference between raw scores and the release's, of the patients of a step.

    It knows the earlier patients by what the release says of the new ones alone; nothing of theirs is kept.

    Args:
        weight: of the mean over patients and outputs, beside the task's loss.

    Raises:
        UserError: if the weight is none.
    """

    def __init__(self, weight: float = 1.0) -> None:
        if not weight > 0:
            raise UserError(f"learning.weight: found {weight}; give a number above 0")
        self.weight = weight
        self._teacher: FinetuneModule | None = None

    def begin(self, module: FinetuneModule, release: TaskModel, folder: Path, train: PatientDataset) -> None:
        encoder = module.encoder if module.frozen else copy.deepcopy(release.encoder).requires_grad_(False)
        self._teacher = FinetuneModule(encoder, copy.deepcopy(release.head).requires_grad_(False), frozen=True).eval()

    @torch.no_grad()
    def _taught(self, batch: Batch, like: Tensor) -> Tensor:
        assert self._teacher is not None
        self._teacher.head.to(like.device)
        if batch.fused is None:
            self._teacher.encoder.to(like.device)
        scores: Tensor = self._teacher.head(self._teacher.embed(batch))
        return scores

    def penalty(self, module: FinetuneModule, batch: Batch, scores: Tensor) -> Tensor:
        return self.weight * functional.mse_loss(scores[: len(batch)].float(), self._taught(batch, scores).float())
