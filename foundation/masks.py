"""Masks whose truth is known on the host, so that a training step asks a GPU for no number.

A GPU works off a queue. To ask it how many tokens are real, or which patients have both of two modalities, makes the
host wait until the queue is empty, and the GPU idle until the host has filled it again. Masks are made on the host, in
collate: `to_device` keeps that copy beside the one on the device, and what depends on their truth (counts, positions,
the layout of packed sets) is computed from it, and sent after.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.compiler import is_exporting
from torch.utils._pytree import tree_map

_HOST = "on_host"


def to_device(mask: Bool[Tensor, "*shape"], device: torch.device) -> Bool[Tensor, "*shape"]:
    """A mask on a device, which remembers itself on the host; it must not be changed in place."""
    moved = mask.to(device, non_blocking=device.type != "cpu")
    if moved is not mask:
        setattr(moved, _HOST, on_host(mask))
    return moved


def on_host(mask: Bool[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """The mask on the host. One that was computed on the device is fetched, which waits for it."""
    known: Tensor | None = getattr(mask, _HOST, None)
    return mask.cpu() if known is None else known


def rows_of(values: Shaped[Tensor, "rows *rest"], turn: slice) -> Shaped[Tensor, "fewer *rest"]:
    """Some rows of any tensor; of a mask they are known on the host where it is."""
    some = values[turn]
    known: Tensor | None = getattr(values, _HOST, None)
    if known is not None:
        setattr(some, _HOST, known[turn])
    return some


def true_cells(mask: Bool[Tensor, "*shape"]) -> Int[Tensor, " true"]:
    """Positions of what is true in the flattened mask, in order, on its device."""
    return send(on_host(mask).flatten().nonzero().squeeze(1), mask.device)


def real(
    values: Shaped[Tensor, "sets places *rest"], mask: Bool[Tensor, "sets places"]
) -> Shaped[Tensor, "real *rest"]:
    """`values[mask]`."""
    return values.flatten(0, 1).index_select(0, true_cells(mask))


def laid_out(
    values: Shaped[Tensor, "real width"], mask: Bool[Tensor, "sets places"]
) -> Shaped[Tensor, "sets places width"]:
    """The inverse of `real`: zero where the mask is false."""
    places = values.new_zeros(mask.numel(), values.shape[1])
    return places.index_copy(0, true_cells(mask), values).view(*mask.shape, -1)


def mean_of_real(
    values: Shaped[Tensor, "real width"], mask: Bool[Tensor, "sets places"]
) -> Shaped[Tensor, "sets width"]:
    """The mean over each set of its real members."""
    return laid_out(values, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def never_none(compute: Callable[..., Any], *rows: Tensor) -> Any:
    """What is computed of rows, each by itself; in a program that is exported, also of no rows at all.

    An exported convolution must know that it has a row: a blank one goes along, whose results are dropped.

    Args:
        compute: of tensors `[rows, ...]`, others of as many rows, alone or in a dictionary.
        rows: to compute it of.
    """
    if not is_exporting():
        return compute(*rows)
    done = compute(*(torch.cat([one, one.new_zeros(1, *one.shape[1:])]) for one in rows))
    return tree_map(lambda values: values[:-1], done)


def send(values: Tensor, device: torch.device) -> Tensor:
    """Small tensors from the host to a device, which nobody waits for."""
    return values.to(device, non_blocking=device.type != "cpu")
