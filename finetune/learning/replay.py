"""Replay: embeddings of earlier patients beside new ones, as many a step as they are worth (Rolnick et al. 2019)."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from finetune.heads.base import Targets
from finetune.learning.base import Learning
from finetune.learning.memory import Memory
from finetune.module import FinetuneModule
from finetune.predictor import TaskModel
from foundation.data.dataset import PatientDataset
from foundation.data.sampler import generator_of
from foundation.errors import UserError
from foundation.tensors import digest_of_weights


class Replay(Learning):
    """Steps of new patients and of those whom the release remembers, in the proportion of all patients behind both.

    Args:
        share: of an earlier patient beside a new one: 1 weighs them alike.
        most: remembered patients in a step.
        seed: of who is drawn.

    Raises:
        UserError: if a setting cannot be.
    """

    frozen: ClassVar[bool | None] = True  # an encoder that changed would embed them elsewhere

    def __init__(self, share: float = 1.0, most: int = 512, seed: int = 0) -> None:
        if not share > 0 or most < 1:
            raise UserError(f"learning: found share={share}, most={most}; give a number above 0 and a count from 1 on")
        self.share = share
        self.most = most
        self.seed = seed
        self._memory: Memory | None = None
        self._ratio = 0.0

    def begin(self, module: FinetuneModule, release: TaskModel, folder: Path, train: PatientDataset) -> None:
        memory = Memory.read(folder)
        if memory.encoder != digest_of_weights(module.encoder):
            raise UserError(
                f"{folder}: its memory is of another encoder's embeddings; go on with the encoder beside it"
            )
        self._memory = memory
        self._ratio = self.share * memory.behind / len(train)

    def extend(self, fused: Tensor, targets: Targets, step: int) -> tuple[Tensor, Targets]:
        assert self._memory is not None
        count = min(max(1, round(self._ratio * len(fused))), self.most)
        embeddings, theirs = self._memory.drawn(count, generator_of(self.seed, "replay", step))
        both = {
            name: torch.cat([column, theirs[name].to(column.device, column.dtype)]) for name, column in targets.items()
        }
        return torch.cat([fused, embeddings.to(fused.device, fused.dtype)]), both
