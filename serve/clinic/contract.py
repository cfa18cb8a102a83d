"""The contract that a model is asked by, as the release in use has it: read again when that changes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from serve.registry_pointer import POINTER, release_in_use
from serve.schema import FILE, BundleSchema


@dataclass(frozen=True)
class Contract:
    """What requests hold.

    Attributes:
        schema: of the bundle.
        digest: SHA-256 of its file, which answers carry.
    """

    schema: BundleSchema
    digest: str


def read_contract(folder: Path) -> Contract:
    """The contract of an export, or of the release in use by a registry.

    Args:
        folder: output of `python -m serve.export`, or a registry, as `python -m serve` takes it.

    Raises:
        UserError: if it is neither.
    """
    pointer = folder / POINTER
    bundle = folder / "bundle"
    if pointer.is_file():
        bundle, _ = release_in_use(pointer)
    if not bundle.is_dir():
        raise UserError(f"{folder}: no bundle; say bundle=FOLDER, the output of python -m serve.export or a registry")
    return Contract(BundleSchema.load(bundle), hashlib.sha256((bundle / FILE).read_bytes()).hexdigest())
