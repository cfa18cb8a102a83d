"""A run that goes on from a release: it starts at the release's weights and learns from patients who are new to it."""

from pathlib import Path
from typing import ClassVar

from torch import Tensor

from finetune.heads.base import Head, Targets
from finetune.module import FinetuneModule
from finetune.predictor import TaskModel
from foundation.batch import Batch
from foundation.data.dataset import PatientDataset
from foundation.errors import UserError


class Learning:
    """Going on from a release with nothing against forgetting: what every other way is measured against.

    A way that keeps what was known is a subclass, and a file in `configs/learning/`.

    Attributes:
        frozen: what the config's `frozen` must be for it; either if None.
        still: whether the encoder stays in evaluation mode though something in it learns.
    """

    frozen: ClassVar[bool | None] = None
    still: ClassVar[bool] = False

    def begin(self, module: FinetuneModule, release: TaskModel, folder: Path, train: PatientDataset) -> None:
        """Before the first step, and before anything is built on the module's parameters.

        Args:
            module: with the release's weights.
            release: read from `folder`.
            folder: of the release, in which lies what it kept.
            train: patients who are new.

        Raises:
            UserError: if the release did not keep what this needs.
        """

    def extend(self, fused: Tensor, targets: Targets, step: int) -> tuple[Tensor, Targets]:
        """Embeddings `[batch, width]` and targets of a step, with those of earlier patients, if any, at their end."""
        return fused, targets

    def penalty(self, module: FinetuneModule, batch: Batch, scores: Tensor) -> Tensor:
        """What a step adds to the loss of a batch, a scalar; `scores` begin with the batch's, `[batch, outputs]`."""
        return scores.new_zeros(())

    def end(self, module: FinetuneModule, output: Path) -> None:
        """After training, with the best weights in place: the module becomes an ordinary one again."""


def release_of(folder: Path, head: Head, modalities: list[str], drop_inputs: dict[str, list[str]]) -> TaskModel:
    """The release in a folder, if this run's task is its own.

    Raises:
        UserError: if the folder holds no task model, or one of another task.
    """
    release = TaskModel.load(folder)
    if type(release.head) is not type(head) or release.head.targets != head.targets:
        raise UserError(
            f"task: {folder} predicts {', '.join(release.head.targets)} by {type(release.head).__name__}, this run "
            f"{', '.join(head.targets)} by {type(head).__name__}; go on from a release of the same task"
        )
    if release.task["modalities"] != modalities or release.task["drop_inputs"] != drop_inputs:
        raise UserError(
            f"task.modalities or task.drop_inputs: {folder} reads other inputs; give what it was trained with"
        )
    if release.head.reads_features != head.reads_features:
        raise UserError(f"method: {folder} is not of the method of this run; experts learn on by method=sums alone")
    different = [
        name for name, value in head.state_dict().items() if value.shape != release.head.state_dict()[name].shape
    ]
    if different:
        raise UserError(
            f"task.head: {different[0]} is of another size in {folder}; give the settings it was trained with"
        )
    return release
