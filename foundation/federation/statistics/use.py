"""Settings of training from pooled statistics: every site normalises alike, though no data were pooled."""

import numpy as np

from foundation.errors import UserError
from foundation.federation.statistics.contract import SiteStatistics
from foundation.modalities.pathology.stain_amounts import amounts


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
