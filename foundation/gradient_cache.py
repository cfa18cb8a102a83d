"""Gradient caching: large batches at flat memory, encoded part by part, with the gradient of one piece.

A contrastive loss couples all patients of a batch, so it cannot be accumulated over smaller batches. But it needs their
embeddings alone: each part is encoded without keeping activations, the loss is computed on all embeddings, and in the
backward pass each part is encoded once more to carry its embeddings' gradients on to the weights (gradient caching, Gao
et al. 2021, through activation checkpointing of whole parts). Random numbers are those of the first time.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from foundation.batch import Batch
from foundation.masks import on_host, to_device
from foundation.modalities.base import Tokens
from foundation.output import EncoderOutput


def encode_again(encoder: nn.Module, encode: Callable[[Batch], EncoderOutput], batch: Batch) -> EncoderOutput:
    """Encodes a part now, and again when its gradient is asked for."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), without_statistics(encoder)

    output: EncoderOutput = checkpoint(encode, batch, use_reentrant=False, context_fn=contexts)
    return output


def join(parts: list[EncoderOutput]) -> EncoderOutput:
    """The outputs of a batch's parts as the output of the batch."""
    names = list(dict.fromkeys(name for part in parts for name in part.tokens))
    placeholders = {name: t for part in parts for name, t in part.placeholder_tokens.items() if name not in names}
    zero_losses = [part.zero_loss for part in parts if part.zero_loss is not None]
    return EncoderOutput(
        torch.cat([part.fused for part in parts]),
        {name: torch.cat([part.embeddings[name] for part in parts if name in part.embeddings]) for name in names},
        {name: _join_tokens([part.tokens[name] for part in parts if name in part.tokens]) for name in names},
        placeholders,
        torch.stack(zero_losses).sum(dim=0) if zero_losses else None,
    )


def _join_tokens(parts: list[Tokens]) -> Tokens:
    """Sets of different size, padded to the largest."""
    most = max(part.mask.shape[1] for part in parts)

    def grown(value: Tensor) -> Tensor:
        return torch.cat([value, value.new_zeros(len(value), most - value.shape[1], *value.shape[2:])], dim=1)

    mask = torch.cat([grown(on_host(part.mask)) for part in parts])
    return Tokens(torch.cat([grown(part.values) for part in parts]), to_device(mask, parts[0].mask.device))


@contextmanager
def without_statistics(encoder: nn.Module) -> Iterator[None]:
    """Batch norms do not count a batch twice that passes twice."""
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
