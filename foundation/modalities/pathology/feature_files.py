"""Tile features that a slide pipeline extracted: HDF5 with `features` and `coords`, a file a slide."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foundation.data.problems import refuse

if TYPE_CHECKING:
    import h5py

_AGAIN = "extract the slide's features again, or copy the file again"


def read_features(path: Path, dim: int | None = None) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """A slide's features and where its tiles lie.

    Args:
        path: HDF5 file with `features` `[tiles, dim]` or `[1, tiles, dim]`, and `coords` `[tiles, 2]` or
            `[1, tiles, 2]`.
        dim: that the cohort's other files have; any if None.

    Returns:
        Features `[tiles, dim]`, float16 where they are stored so and float32 otherwise, and the tiles' upper left
        corners `[tiles, 2]` (x, y) in full-resolution pixels.

    Raises:
        DataError: if the file is no such file, is damaged, or its parts do not fit together.
    """
    import h5py

    if not path.is_file():
        raise refuse(path, "no such file", "mend its name in the table, or remove the row")
    if not h5py.is_hdf5(path):
        raise refuse(path, "no HDF5 file", _AGAIN)
    try:
        with h5py.File(path, "r") as file:
            features, coords = _dataset(path, file, "features"), _dataset(path, file, "coords")
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise refuse(path, f"damaged HDF5 file ({error})", _AGAIN) from error
    _check_shapes(path, features, coords, dim)
    kept: type[np.floating] = np.float16 if features.dtype == np.float16 else np.float32
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused
        values: NDArray[np.floating] = features.astype(kept)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise refuse(path, f"NaN or infinite in tile {row} of {len(finite)}", _AGAIN, field="features")
    if not values.any():
        raise refuse(path, "every value is zero", _AGAIN, field="features")
    where = coords.astype(np.float64)
    if not (np.isfinite(where) & (where >= 0) & (where == np.floor(where))).all():
        raise refuse(path, "negative or fractional", "give full-resolution pixels", field="coords")
    return values, where.astype(np.int64)


def _dataset(path: Path, file: "h5py.File", name: str) -> NDArray[np.generic]:
    import h5py

    # A link to another file would read what the declaration does not name.
    dataset = file.get(name) if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset):
        among = ", ".join(sorted(map(str, file))[:6]) or "nothing"
        raise refuse(path, f"no dataset '{name}' among {among}", "name it so, or extract again", field=name)
    if dataset.dtype.kind not in "fiu":
        raise refuse(path, "holds no numbers", "extract the slide's features again", field=name, value=dataset.dtype)
    if dataset.size and not dataset.id.get_storage_size():
        raise refuse(path, "laid out but never written", _AGAIN, field=name)
    array = np.asarray(dataset[()])
    return array[0] if array.ndim == 3 and len(array) == 1 else array


def _check_shapes(path: Path, features: NDArray[np.generic], coords: NDArray[np.generic], dim: int | None) -> None:
    if features.ndim != 2:
        raise refuse(
            path, "not [tiles, dim]", "write one file a slide, a row a tile", field="features", value=features.shape
        )
    if not features.size:
        raise refuse(path, "no tile", "tile the slide again, or leave it out", field="features", value=features.shape)
    if dim is not None and features.shape[1] != dim:
        finding = f"{features.shape[1]} values a tile, other files have {dim}"
        raise refuse(path, finding, "use one feature extractor for the whole cohort", field="features")
    if features.dtype.kind != "f":
        raise refuse(path, "whole numbers", "give floating-point features", field="features", value=features.dtype)
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise refuse(path, "not [tiles, 2]", "give x and y of each tile's corner", field="coords", value=coords.shape)
    if len(coords) != len(features):
        raise refuse(path, f"{len(coords)} coordinates for {len(features)} tiles", _AGAIN, field="coords")
