"""Extreme values of a batch, which must not make a gene's moments: a slip of the unit would blind the model to it."""

import torch
from jaxtyping import Float
from torch import Tensor

_FEWEST = 8  # patients measured, of fewer of whom nobody can be called extreme
_USUAL = 0.9  # share of deviations that are taken for usual
_TIMES = 5.0  # of the largest usual deviation: about 8 standard deviations of a normal distribution


def without_extremes(expression: Float[Tensor, "patients genes"]) -> Float[Tensor, "patients genes"]:
    """Values brought to within five times the ninth decile of absolute deviations from a gene's median.

    A gene of two levels, such as one of the Y chromosome, is left as it is, and so is one that hardly varies.
    """
    if len(expression) < _FEWEST:
        return expression
    values = expression.float()
    median = values.nanmedian(dim=0).values
    deviation = (values - median).abs()
    bound = _TIMES * deviation.nanquantile(_USUAL, dim=0, interpolation="lower")
    enough = ((~values.isnan()).sum(dim=0) >= _FEWEST) & (bound > 0)
    extreme = enough & (deviation > bound)
    nearest = (median + bound.copysign(values - median)).to(expression.dtype)
    return torch.where(extreme, nearest, expression)
