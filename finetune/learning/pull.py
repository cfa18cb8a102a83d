"""A pull towards the last release's weights.

All alike (L2-SP; Li et al. 2018), or each by what earlier patients told of it (elastic weight consolidation;
Kirkpatrick et al. 2017).
"""

from pathlib import Path

from torch import Tensor

from finetune.learning.base import Learning
from finetune.learning.information import Information
from finetune.module import FinetuneModule
from finetune.predictor import TaskModel
from foundation.batch import Batch
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError


class Pull(Learning):
    """Half the squared distance from the release's weights, `strength` times.

    Args:
        strength: of the pull.

    Raises:
        UserError: if the strength is none.
    """

    def __init__(self, strength: float = 0.1) -> None:
        if not strength > 0:
            raise UserError(f"learning.strength: found {strength}; give a number above 0")
        self.strength = strength
        self._start: dict[str, Tensor] = {}

    def begin(self, module: FinetuneModule, release: TaskModel, folder: Path, train: PatientDataset) -> None:
        self._start = {name: value.detach().clone() for name, value in trainable(module).items()}

    def penalty(self, module: FinetuneModule, batch: Batch, scores: Tensor) -> Tensor:
        return self.strength / 2 * sum(((move**2).sum() for move in self._moves(module).values()), scores.new_zeros(()))

    def _moves(self, module: FinetuneModule) -> dict[str, Tensor]:
        """By name, how far each weight is from where it started."""
        now = trainable(module)
        return {name: now[name] - start.to(now[name].device) for name, start in self._start.items()}


class Fisher(Pull):
    """The pull that the earlier patients' own likelihood has near the release's weights, to second order.

    The release keeps its information, a sum over patients (`finetune.learning.information`); a strength of one weighs
    an earlier patient like a new one.

    Args:
        strength: of an earlier patient beside a new one.
    """

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength)
        self._information: Information | None = None
        self._share = 0.0

    def begin(self, module: FinetuneModule, release: TaskModel, folder: Path, train: PatientDataset) -> None:
        super().begin(module, release, folder, train)
        self._information = Information.read(folder).on(self._start, folder)
        self._share = 1.0 / len(train)

    def penalty(self, module: FinetuneModule, batch: Batch, scores: Tensor) -> Tensor:
        assert self._information is not None
        return self.strength * self._share / 2 * self._information.of(self._moves(module))


def trainable(module: FinetuneModule) -> dict[str, Tensor]:
    """The weights that a run changes, by name."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}
