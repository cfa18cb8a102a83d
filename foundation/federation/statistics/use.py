"""Pooled statistics in training: every site starts from the same normalisation, though no data were pooled."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.statistics.contract import SiteStatistics
from foundation.federation.statistics.pooling import gene_moments
from foundation.modalities.pathology.stain import amounts

_PREFIX = "encoder.modalities.genomics"
_STEADY = 10.0  # batches after which the running moments move by a tenth: from then on, a batch does not replace them


def initial_moments(pooled: SiteStatistics, genes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Values for the buffers by which the genomics encoder standardises expression.

    Args:
        pooled: statistics with expression, in the unit of the cohorts that train.
        genes: of the encoder, in its order.

    Returns:
        By parameter name of the pretraining module: mean and variance `[genes]`, and how many batches they stand for,
        `[1]`. A gene of which fewer than two patients are known keeps mean 0 and variance 1, as without statistics.

    Raises:
        UserError: if there is no expression among the statistics.
    """
    if pooled.expression is None:
        raise UserError("statistics: no site told expression; allow it in the sites' policies, or train without it")
    moments = gene_moments(pooled.expression, genes)
    enough = moments.count > 1
    variance = moments.m2 / np.maximum(moments.count - 1, 1)
    return {
        f"{_PREFIX}.expression_mean": np.where(enough, moments.mean, 0).astype(np.float32),
        f"{_PREFIX}.expression_variance": np.where(enough, variance, 1).astype(np.float32),
        f"{_PREFIX}.seen": np.full(1, _STEADY, dtype=np.float32),
    }


def stain_reference(pooled: SiteStatistics) -> dict[str, list[float]]:
    """Mean and spread of the amounts of haematoxylin, eosin and residual: `modality.pathology.stain_reference`.

    Returns:
        `mean` and `spread`, three numbers each.

    Raises:
        UserError: if there is no stain among the statistics.
    """
    stain = pooled.stain
    if stain is None or stain.mean is None or stain.m2 is None or (stain.pixels or 0) < 2:
        raise UserError("statistics: no site told stain; allow it in the sites' policies, or train without it")
    mean, covariance = amounts(np.array(stain.mean), np.array(stain.m2) / ((stain.pixels or 0) - 1))
    return {"mean": mean.tolist(), "spread": np.sqrt(np.diag(covariance)).tolist()}
