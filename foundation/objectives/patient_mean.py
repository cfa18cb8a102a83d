"""The mean of a loss by which every patient counts alike, however much of one is to be told."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foundation.masks import on_host, real


def mean_over_patients(
    errors: Float[Tensor, " real"], mask: Bool[Tensor, "patients places"]
) -> tuple[Float[Tensor, ""], int]:
    """Each patient's own mean, and the mean of these over the patients who have any.

    A mean over all places would count a patient by the length of a report or the number of genes measured, which
    hospitals that count patients cannot add up to the mean of all.

    Args:
        errors: of the places where the mask is true, in its order.
        mask: which places of which patients are told.

    Returns:
        The mean and the number of patients behind it.
    """
    patients = int(torch.count_nonzero(on_host(mask).any(dim=1)))
    shares = mask.sum(dim=1, keepdim=True).clamp(min=1).reciprocal() / max(patients, 1)
    return (errors * real(shares.expand(mask.shape), mask)).sum(), patients
