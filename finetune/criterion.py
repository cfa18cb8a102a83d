"""A head's loss and metrics in training, in single precision whatever the weights train in."""

import copy

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from finetune.heads.base import Head, Targets
from foundation.batch import Batch
from foundation.distributed import processes, several_processes

Rows = dict[str, tuple[Tensor, Targets]]


class HeadCriterion:
    """Loss of a batch; loss and metrics of all validation patients, put together from the processes that share them.

    Args:
        head: with its counts set; a copy is kept, which no trainer casts or spreads.
    """

    def __init__(self, head: Head) -> None:
        self.head = copy.deepcopy(head)
        self._rows: Rows = {}

    def loss(self, scores: Tensor, targets: Targets) -> Tensor | None:
        """As `Head.loss`."""
        return self.head.to(scores.device).loss(scores.float(), targets)

    def add(self, batch: Batch, scores: Tensor) -> None:
        """Takes in a validation batch.

        Args:
            batch: with targets.
            scores: `[batch, outputs]`.
        """
        scores = scores.detach().float().cpu()
        targets = {name: value.cpu() for name, value in batch.targets.items()}
        for place, patient in enumerate(batch.patients):
            # Where patients do not fill every process's turn, some come twice.
            self._rows[patient] = scores[place], {name: value[place] for name, value in targets.items()}

    def measure(self) -> dict[str, float]:
        """Loss, and the head's metrics where they are defined, of everybody taken in; then begins anew."""
        rows, self._rows = _of_all(self._rows), {}
        head = self.head.cpu()
        scores = torch.stack([row[0] for row in rows.values()])
        targets = {name: torch.stack([row[1][name] for row in rows.values()]) for name in head.targets}
        loss = head.loss(scores, targets)
        measured = {} if loss is None else {"loss": float(loss)}
        columns = [targets[name].numpy().astype(np.float64) for name in head.targets]
        estimates = head.estimate(scores).numpy().astype(np.float64)
        for name, metric in head.metrics().items():
            if metric.defined(*columns):
                measured[name] = metric.value(*columns, estimates)
        return measured


def _of_all(rows: Rows) -> Rows:
    """The rows of all processes, in one order."""
    if several_processes():
        parts: list[Rows] = [{} for _ in range(processes())]
        dist.all_gather_object(parts, rows)
        rows = {patient: row for part in parts for patient, row in part.items()}
    return {patient: rows[patient] for patient in sorted(rows)}
