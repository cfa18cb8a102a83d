"""Calibration of logits after training, by temperature and shift."""

from collections.abc import Callable

import torch
from torch import Tensor

_SHRINK = 1e-2


def fit_temperature(loss: Callable[[Tensor, Tensor], Tensor], log_scale: Tensor, shift: Tensor) -> None:
    """Fits an inverse temperature and a shift (Guo et al. 2017), drawn towards none: validation parts are small.

    Args:
        loss: of validation patients whose logits are scaled and shifted by its arguments.
        log_scale: buffer of the logarithm of the scale, written in place.
        shift: buffer of the shift, written in place.
    """
    fitted = [torch.zeros_like(buffer, requires_grad=True) for buffer in (log_scale, shift)]
    optimizer = torch.optim.LBFGS(fitted, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = _SHRINK * (fitted[0].square().sum() + fitted[1].square().sum())
        value = loss(fitted[0].exp(), fitted[1]) + penalty
        value.backward()
        return value

    optimizer.step(closure)
    log_scale.copy_(fitted[0].detach())
    shift.copy_(fitted[1].detach())
