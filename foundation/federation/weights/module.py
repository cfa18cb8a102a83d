"""The weights of a torch module in partial rounds: what travels, what stays at a site, what both sides hold unsent."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.weights.sharing import is_local
from foundation.federation.weights.types import Weights

BATCH_NORM = "batch_norm"
BUFFERS = "buffers"
_GROUP = "group:"


def travelling(module: nn.Module, local: Sequence[str] = ()) -> set[str]:
    """Names of a module's state that sites and server exchange: what learns or moves, less what stays at a site.

    A frozen backbone and the weights beneath LoRA adapters do not learn, so they never travel. Of buffers, those travel
    whose module trains: a frozen backbone stays in evaluation mode, where its statistics stand still.
    """
    return {name for name in _learning(module) if not is_local(name, local)}


def _learning(module: nn.Module) -> set[str]:
    before = module.training
    module.train()
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    still = {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules()
        if not part.training
        for name, _ in part.named_buffers(recurse=False)
    }
    module.train(before)
    return module.state_dict().keys() - frozen - still


def frozen_digests(module: nn.Module, local: Sequence[str] = ()) -> dict[str, str]:
    """By parameter group, SHA-256 of what neither travels nor is local: sites and server must hold the same.

    They come from the seed or from a local file that the config names, at each site by itself.
    """
    state = module.state_dict()
    hashes: dict[str, hashlib._Hash] = {}
    for name in sorted(state.keys() - _learning(module)):
        if is_local(name, local):
            continue
        value = state[name].detach().cpu().contiguous()
        digest = hashes.setdefault(group_of(name), hashlib.sha256())
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy() if value.numel() else b"")
    return {group: digest.hexdigest() for group, digest in hashes.items()}


def place(module: nn.Module, sent: Weights, kept: Weights, local: Sequence[str] = ()) -> None:
    """Puts what was sent, and what the site holds of its own, into a module built from the config.

    Args:
        module: to fill.
        sent: at least what travels.
        kept: the site's local parts of an earlier round; none in its first one.
        local: patterns of what stays at the site; what is kept goes before what was sent.

    Raises:
        UserError: if something that travels is missing, or a name or shape is not the model's.
    """
    state = module.state_dict()
    missing = sorted(travelling(module, local) - sent.keys())
    unknown = sorted((sent.keys() | kept.keys()) - state.keys())
    if missing or unknown:
        what = f"lack {missing[0]}" if missing else f"hold {unknown[0]}, which this model has not"
        raise UserError(f"weights: those of the round {what}; site and server must run the same config and release")
    weights = {**sent, **{name: value for name, value in kept.items() if is_local(name, local)}}
    for name, value in weights.items():
        if tuple(value.shape) != tuple(state[name].shape):
            raise UserError(
                f"weights: {name} has shape {tuple(value.shape)}, this model's {tuple(state[name].shape)}; "
                "site and server must run the same config and cohort dictionary"
            )
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, strict=False)


def local_names(module: nn.Module, patterns: Iterable[str]) -> tuple[str, ...]:
    """The names in a module's state that patterns keep at a site.

    Args:
        module: that trains.
        patterns: names with wildcards (`fnmatch`), for example `objectives.*.log_scale`; `batch_norm` for weights and
            running statistics of every batch-norm layer (FedBN, Li et al. 2021); `buffers` for all that no gradient
            trains, running statistics and counters of any kind (SiloBN, Andreux et al. 2020); `group:<name>` for a
            parameter group.

    Raises:
        UserError: if a pattern matches nothing, because what it was meant to keep would travel.
    """
    names = list(module.state_dict())
    local: set[str] = set()
    for pattern in patterns:
        kept = {name for name in names if _matches(name, pattern)}
        if pattern == BATCH_NORM:
            kept = _batch_norm(module)
        elif pattern == BUFFERS:
            kept = {name for name, _ in module.named_buffers()} & set(names)
        if not kept and pattern != BUFFERS:
            raise UserError(
                f"strategy.local: '{pattern}' matches no parameter of the model; name one of its parameters, "
                f"'{BATCH_NORM}' if it has such layers, or a group: {', '.join(sorted(set(map(group_of, names))))}"
            )
        local |= kept
    return tuple(sorted(local))


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith(_GROUP):
        return group_of(name) == pattern.removeprefix(_GROUP)
    return fnmatchcase(name, pattern)


def _batch_norm(module: nn.Module) -> set[str]:
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)}
    return {f"{name}.{part}" for name, layer in layers.items() for part in layer.state_dict()}


def to_weights(state: Mapping[str, Tensor]) -> Weights:
    """A state as arrays, floating point in single precision: the one place where weights leave torch."""
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in state.items()}


def set_weights(module: nn.Module, weights: Weights) -> None:
    """The way back; every name must fit."""
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
