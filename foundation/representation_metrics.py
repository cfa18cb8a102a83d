"""Metrics of a representation that show its collapse: effective rank, uniformity, alignment."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def effective_rank(embeddings: Float[Tensor, "patients width"]) -> float:
    """Exponential of the entropy of the singular values' shares (Roy and Vetterli 2007), of the centred embeddings.

    From 1, where all patients lie on a line, to the smaller of width and patients less one; 0 where they are one point,
    NaN where one of them is not finite.
    """
    if not embeddings.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals((embeddings - embeddings.mean(dim=0)).double())
    total = values.sum()
    if total < 1e-9:
        return 0.0
    share = values / total
    return float(torch.special.entr(share).sum().exp())


def alignment(left: Float[Tensor, "pairs width"], right: Float[Tensor, "pairs width"]) -> float:
    """Mean squared distance of partners on the unit sphere (Wang and Isola 2020, alpha 2): 0 is best."""
    return float((left - right).square().sum(dim=1).mean())


def uniformity(embeddings: Float[Tensor, "patients width"]) -> float:
    """Log of the mean Gaussian potential of all pairs on the unit sphere (Wang and Isola 2020, t 2): 0 where collapsed.

    The lower, the more evenly they are spread: -4 for many evenly drawn ones in many dimensions.
    """
    return float(torch.pdist(embeddings.double()).square().mul(-2).exp().mean().log())


@torch.no_grad()
def representation_metrics(embeddings: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, float]:
    """Effective rank and uniformity by modality, and alignment by pair of modalities.

    Args:
        embeddings: by modality, `[present, width]` of unit length.
        present: by modality, `[patients]` bool.
    """
    values: dict[str, float] = {}
    names = [name for name in embeddings if len(embeddings[name]) > 1]
    for name in names:
        values[f"{name}/effective_rank"] = effective_rank(embeddings[name])
        values[f"{name}/uniformity"] = uniformity(embeddings[name])
    for index, left in enumerate(names):
        for right in names[index + 1 :]:
            both = present[left] & present[right]
            if both.any():
                pair = (embeddings[name][both[present[name]]] for name in (left, right))
                values[f"{left}_{right}/alignment"] = alignment(*pair)
    return values
