"""Files of features: HDF5 with `features`, `coords`, and in attributes what they are of."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from foundation.files import replacing

KEY = "key"


def write_features(
    path: Path, features: NDArray[np.floating], coords: NDArray[np.int64], attributes: Mapping[str, Any]
) -> None:
    """Writes a file, which appears when it is complete.

    Args:
        path: of the file.
        features: `[tiles, dim]`.
        coords: upper left corners `[tiles, 2]`, full-resolution pixels.
        attributes: of the file; lists and objects are written as JSON.
    """
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file["features"], file["coords"] = features, coords
        for name, value in attributes.items():
            plain = value is None or isinstance(value, list | tuple | dict)
            file.attrs[name] = json.dumps(value) if plain else value


def is_written(path: Path, key: str) -> bool:
    """Whether the file is there, whole, and of that key."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get(KEY) == key)
    except (OSError, RuntimeError):  # HDF5's words for damage
        return False
