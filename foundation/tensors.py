"""Tensors in safetensors files, as `foundation.arrays` writes and reads arrays."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from foundation.errors import UserError
from foundation.files import replacing


class Hash(Protocol):
    """What takes in bytes, such as `hashlib.sha256()`."""

    def update(self, data: Any, /) -> None:
        """Takes in more."""


def add_weights(digest: Hash, module: nn.Module) -> None:
    """Names, kinds, shapes and values of all of a module's weights, into a digest."""
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def digest_of_weights(module: nn.Module) -> str:
    """SHA-256 of a module's weights."""
    digest = hashlib.sha256()
    add_weights(digest, module)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], mode: int | None = None) -> None:
    """Writes tensors, from whatever device and memory layout; see `foundation.files.replacing`."""
    with replacing(path, mode) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary)


def read_tensors(path: Path, advice: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Args:
        path: of the file.
        advice: what to do where it cannot be read, for the error.

    Raises:
        UserError: if it is missing or damaged.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable as safetensors ({error}); {advice}") from error
    return tensors


def load_weights(module: nn.Module, path: Path) -> None:
    """Loads a module's weights; every name and shape must fit.

    Raises:
        UserError: if the file is damaged, or of another model.
    """
    tensors = read_tensors(path, "copy the folder again")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise UserError(f"{path}: its weights do not fit the config beside it:{first[0]}") from error
