"""Files of features: HDF5 with `features`, `coords`, and in attributes what they are of."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import refuse
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
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file["features"], file["coords"] = features, coords
        for name, value in attributes.items():
            plain = value is None or isinstance(value, list | tuple | dict)
            file.attrs[name] = json.dumps(value) if plain else value


def is_written(path: Path, key: str) -> bool:
    """Whether the file is there, whole, and of that key."""
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get(KEY) == key)
    except (OSError, RuntimeError):  # HDF5's words for damage
        return False


def read_attributes(path: Path) -> dict[str, Any]:
    """What a file of features says of itself, as it is written there.

    Raises:
        DataError: if it is missing or damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return dict(file.attrs)
    except (OSError, RuntimeError) as error:  # HDF5's words for damage
        raise refuse(path, "missing or damaged", "run python -m foundation.data features again") from error
