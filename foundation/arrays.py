"""Files of numpy arrays: safetensors, written whole or not at all, and read with one line of error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from foundation.errors import UserError
from foundation.files import replacing


def narrowed(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in the shortest kind that holds them; other numbers as they are."""
    if values.dtype.kind not in "iu" or not values.size:
        return values
    kind = np.promote_types(np.min_scalar_type(values.min()), np.min_scalar_type(values.max()))
    return values.astype(kind, copy=False)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes a safetensors file; see `replacing`.

    Raises:
        OSError: if the disk does not take it.
    """
    with replacing(path) as temporary:
        try:
            # In order, for safetensors writes a strided array's memory as it lies.
            save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, temporary)
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error


def read_arrays(path: Path, advice: str) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file.

    Args:
        path: of the file.
        advice: what to do where it cannot be read, for the error.

    Raises:
        UserError: if it is missing or damaged.
    """
    try:
        arrays: dict[str, NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable as safetensors ({error}); {advice}") from error
    return arrays
