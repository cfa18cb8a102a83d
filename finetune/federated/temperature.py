"""What a hospital sums to calibrate a head by temperature and shift, whichever scores the head calls logits."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from finetune.federated.calibration import temperature_sums
from finetune.heads.base import Head, Targets
from finetune.heads.competing import CompetingRisks
from finetune.heads.discrete import DiscreteHazards, intervals_lived
from finetune.heads.multilabel import MultiLabel
from foundation.statistics.table import Floats

_REFERENCE = 1  # place of the logit of no event among log scale and shifts


def calibration_sums(
    head: Head, scores: Float[Tensor, "patients outputs"], targets: Targets, theta: Floats
) -> dict[str, NDArray[np.float64]]:
    """Loss of scaled and shifted logits, its gradient and curvature: see `temperature_sums`.

    Args:
        head: as the task describes it.
        scores: raw ones of the hospital's validation patients.
        targets: of them.
        theta: logarithm of the scale, then shifts, `[rows, width]`.
    """
    logits = scores.double().numpy()
    if isinstance(head, DiscreteHazards):
        event, time = (targets[name] for name in head.targets)
        label, counts = intervals_lived(event, time, head.edges)
        known = torch.where(counts, label, torch.nan).double().numpy()
        sums = temperature_sums(logits.reshape(-1, 1), known.reshape(-1, 1), theta, True)
        return sums | {"patients": np.array([float(len(scores))])}  # over whom the loss is a mean
    if isinstance(head, CompetingRisks):
        return _of_causes(head, logits, targets, theta) | {"patients": np.array([float(len(scores))])}
    labels = np.stack([targets[name].numpy() for name in head.targets], axis=1).astype(np.float64)
    several = isinstance(head, MultiLabel)
    return temperature_sums(logits, labels if several else labels[:, 0], theta, several)


def _of_causes(head: CompetingRisks, logits: Floats, targets: Targets, theta: Floats) -> dict[str, NDArray[np.float64]]:
    """Each interval that a patient lived through is a choice between no event, whose logit stays 0, and the causes."""
    outcome, counts = (part.numpy() for part in head.causes_by_interval(*(targets[name] for name in head.targets)))
    rows = logits.reshape(len(logits), len(head.causes), len(head.edges)).transpose(0, 2, 1)
    choices = np.pad(rows.reshape(-1, len(head.causes)), ((0, 0), (1, 0)))[counts.reshape(-1)]
    chosen = outcome.reshape(-1)[counts.reshape(-1)].astype(np.float64)
    sums = temperature_sums(choices, chosen, np.insert(theta, _REFERENCE, 0.0, axis=1), False)
    sums["gradient"] = np.delete(sums["gradient"], _REFERENCE, axis=1)
    sums["curvature"] = np.delete(np.delete(sums["curvature"], _REFERENCE, axis=1), _REFERENCE, axis=2)
    return sums
