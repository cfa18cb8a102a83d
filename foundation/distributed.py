"""Exchange between processes that train together."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

T = TypeVar("T")


def several_processes() -> bool:
    """Whether this process trains together with others."""
    return processes() > 1


def processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of every process's values, without gradient."""
    total = values.detach().clone()
    if several_processes():
        dist.all_reduce(total)
    return total


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether any process says so; on one process, the device is not waited for."""
    return bool(sum_over_processes(torch.tensor([float(flag)], device=device))) if several_processes() else flag


def broadcast(value: T, source: int, device: torch.device) -> T:
    """The value of one process on all of them, its tensors as leaves, which require a gradient where they did.

    Args:
        value: tensors in dataclasses, dictionaries, lists and tuples.
        source: rank of the process whose value it is.
        device: of the tensors that come back.
    """
    parcel: list[Any] = [None]
    if dist.get_rank() == source:
        parcel = [apply_to_collection(value, Tensor, _leaf)]
    dist.broadcast_object_list(parcel, source)
    received: T = apply_to_collection(parcel[0], Tensor, lambda tensor: tensor.to(device))
    return received


def _leaf(tensor: Tensor) -> Tensor:
    # ZeRO-3 lets weights go in the backward pass where inputs require a gradient: alike on all processes, then.
    return tensor.detach().cpu().requires_grad_(tensor.requires_grad)


class _GatherRows(torch.autograd.Function):
    """Rows of all processes below one another; each gets back the gradient that all together give its own."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, counts: list[int], rank: int) -> Tensor:
        ctx.counts, ctx.rank = counts, rank
        most = max(counts)
        padded = local.new_zeros(most, local.shape[1])
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        start = sum(ctx.counts[: ctx.rank])
        return gradient[start : start + ctx.counts[ctx.rank]], None, None


def gather_rows(local: Shaped[Tensor, "local width"]) -> Shaped[Tensor, "all width"]:
    """Rows of all processes in order of rank, with gradients; `local` itself where there is one process.

    `local` must require a gradient on every process or on none, for the backward pass is a collective too.
    """
    if not several_processes():
        return local
    counts = torch.tensor([len(local)], device=local.device)
    parts = [torch.empty_like(counts) for _ in range(processes())]
    dist.all_gather(parts, counts)
    gathered: Tensor = _GatherRows.apply(  # type: ignore[no-untyped-call]
        local, [int(part) for part in parts], dist.get_rank()
    )
    return gathered
