"""Partial rounds: what travels, what stays at a site, and what both sides hold without sending it."""

import hashlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.weights.types import Weights


def is_local(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of those that never leave a site, by shell-style patterns of whole names."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


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
        found = hashes.setdefault(group_of(name), hashlib.sha256())
        found.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        found.update(value.view(-1).view(torch.uint8).numpy() if value.numel() else b"")
    return {group: found.hexdigest() for group, found in hashes.items()}


def check_frozen(own: Mapping[str, str], expected: Mapping[str, str] | None) -> None:
    """Holds a site's frozen weights against the server's.

    Raises:
        UserError: naming the first group that differs.
    """
    for group in sorted({*own, *(expected or own)}):
        asked, held = (expected or own).get(group, "none"), own.get(group, "none")
        if asked != held:
            raise UserError(
                f"modality.{group}: frozen weights here have digest {held[:12]}, the run's {asked[:12]}; they do not "
                f"travel, so give modality.{group}.weights the same file at every site, and one seed"
            )


def place(module: nn.Module, sent: Weights, held: Weights, local: Sequence[str] = ()) -> None:
    """Puts what was sent, and what the site holds of its own, into a module built from the config.

    Args:
        module: to fill.
        sent: at least what travels.
        held: the site's local parts of an earlier round; none in its first one.
        local: patterns of what stays at the site; what is held goes before what was sent.

    Raises:
        UserError: if something that travels is missing, or a name or shape is not the model's.
    """
    state = module.state_dict()
    missing = sorted(travelling(module, local) - sent.keys())
    unknown = sorted((sent.keys() | held.keys()) - state.keys())
    if missing or unknown:
        what = f"lack {missing[0]}" if missing else f"hold {unknown[0]}, which this model has not"
        raise UserError(f"weights: those of the round {what}; site and server must run the same config and release")
    given = {**sent, **{name: value for name, value in held.items() if is_local(name, local)}}
    for name, value in given.items():
        if tuple(value.shape) != tuple(state[name].shape):
            raise UserError(
                f"weights: {name} has shape {tuple(value.shape)}, this model's {tuple(state[name].shape)}; "
                "site and server must run the same config and cohort dictionary"
            )
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in given.items()}, strict=False)


def to_weights(state: Mapping[str, Tensor]) -> Weights:
    """A state as arrays, floating point in single precision: the one place where weights leave torch."""
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in state.items()}


def set_weights(module: nn.Module, weights: Weights) -> None:
    """The way back; every name must fit."""
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})


def keep_local(state: Weights, local: Sequence[str] = ()) -> Weights:
    """Those of a state's arrays that stay at the site."""
    return {name: value for name, value in state.items() if is_local(name, local)}
