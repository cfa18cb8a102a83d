"""Tile features: what is read, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from foundation.data.problems import DataError
from foundation.modalities.pathology.feature_files import read_features

FEATURES = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
COORDS = np.arange(10, dtype=np.int64).reshape(5, 2) * 256


def write(path: Path, **datasets: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            if value is not None:
                file[name] = value
    return path


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def changed(**datasets: object) -> Callable[[Path], object]:
    return lambda path: write(path, **{"features": FEATURES, "coords": COORDS, **datasets})


def one(value: float, dtype: type = np.float32) -> np.ndarray:
    features = FEATURES.astype(dtype)
    features[3, 2] = value
    return features


def cut(path: Path) -> None:
    write(path, features=np.random.default_rng(0).normal(size=(500, 64)), coords=np.zeros((500, 2), int))
    path.write_bytes(path.read_bytes()[:-2000])


def spoilt(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=np.random.default_rng(0).normal(size=(500, 64)), compression="gzip")
        file["coords"] = np.zeros((500, 2), int)
        offset, size = file["features"].id.get_chunk_info(0).byte_offset, file["features"].id.get_chunk_info(0).size
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)


def never_written(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("features", (500, 64), np.float32)
        file["coords"] = np.zeros((500, 2), int)


def linked(path: Path) -> None:
    write(path.with_name("other.h5"), features=FEATURES)
    with h5py.File(path, "w") as file:
        file["features"] = h5py.ExternalLink("other.h5", "features")
        file["coords"] = COORDS


def a_group(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("features")
        file["coords"] = COORDS


CORRUPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, r"a\.h5: no such file"),
    "empty file": (written(b""), r"a\.h5: no HDF5 file"),
    "a PyTorch file": (written(b"PK\x03\x04" + bytes(100)), r"a\.h5: no HDF5 file; extract"),
    "cut off": (cut, r"a\.h5: damaged HDF5 file"),
    "a chunk overwritten": (spoilt, r"a\.h5: damaged HDF5 file"),
    "no features": (
        changed(features=None, feats=FEATURES),
        r"field features: no dataset 'features' among coords, feats",
    ),
    "no coords": (changed(coords=None), r"a\.h5: field coords: no dataset 'coords' among features"),
    "nothing": (lambda path: write(path), r"a\.h5: field features: no dataset 'features' among nothing"),
    "a group": (a_group, r"a\.h5: field features: no dataset 'features' among coords, features"),
    "a link to another file": (linked, r"a\.h5: field features: no dataset 'features'"),
    "never written": (never_written, r"a\.h5: field features: laid out but never written"),
    "one vector": (changed(features=FEATURES[0]), r"field features: not \[tiles, dim\] \(\(8,\)\)"),
    "two slides": (changed(features=np.stack([FEATURES] * 2)), r"field features: not \[tiles, dim\] \(\(2, 5, 8\)\)"),
    "maps": (changed(features=np.ones((5, 8, 7, 7))), r"field features: not \[tiles, dim\] \(\(5, 8, 7, 7\)\)"),
    "no tile": (changed(features=FEATURES[:0], coords=COORDS[:0]), r"field features: no tile \(\(0, 8\)\)"),
    "text": (changed(features=[["a", "b"]]), r"field features: holds no numbers \(object\)"),
    "complex": (changed(features=FEATURES.astype(complex)), r"field features: holds no numbers \(complex128\)"),
    "whole numbers": (changed(features=np.ones((5, 8), int)), r"field features: whole numbers \(int64\)"),
    "NaN": (changed(features=one(np.nan)), r"a\.h5: field features: NaN or infinite in tile 3 of 5"),
    "infinite": (changed(features=one(np.inf, np.float16)), r"field features: NaN or infinite in tile 3 of 5"),
    "beyond float32": (changed(features=one(1e300, np.float64)), r"field features: NaN or infinite in tile 3 of 5"),
    "all zero": (changed(features=np.zeros((5, 8))), r"field features: every value is zero"),
    "another size": (changed(features=np.ones((5, 9))), r"field features: 9 values a tile, other files have 8"),
    "fewer coords": (changed(coords=COORDS[:4]), r"field coords: 4 coordinates for 5 tiles"),
    "boxes for coords": (changed(coords=np.ones((5, 4))), r"field coords: not \[tiles, 2\] \(\(5, 4\)\)"),
    "flat coords": (changed(coords=np.arange(10)), r"field coords: not \[tiles, 2\] \(\(10,\)\)"),
    "negative coords": (changed(coords=COORDS - 1), r"a\.h5: field coords: negative or fractional"),
    "fractional coords": (changed(coords=COORDS + 0.5), r"a\.h5: field coords: negative or fractional"),
    "coords that are no numbers": (changed(coords=COORDS * np.nan), r"a\.h5: field coords: negative or fractional"),
}


@pytest.mark.parametrize(("build", "line"), CORRUPT.values(), ids=CORRUPT)
@pytest.mark.filterwarnings("error")
def test_a_damaged_file_is_one_line(tmp_path, build, line):
    path = tmp_path / "a.h5"
    build(path)
    with pytest.raises(DataError, match=line) as caught:
        read_features(path, dim=8)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("leading", [False, True])
@pytest.mark.parametrize(
    ("stored", "kept"), [(np.float16, np.float16), (np.float32, np.float32), (np.float64, np.float32)]
)
def test_features_are_read_as_pipelines_write_them(tmp_path, leading, stored, kept):
    features, coords = FEATURES.astype(stored), COORDS
    path = write(tmp_path / "a.h5", features=features[None] if leading else features, coords=coords)
    read, where = read_features(path)
    assert (read.dtype, where.dtype) == (kept, np.int64)
    np.testing.assert_array_equal(read, features.astype(kept))
    np.testing.assert_array_equal(where, coords)


def test_one_tile_with_a_leading_axis_is_one_tile(tmp_path):
    path = write(tmp_path / "a.h5", features=FEATURES[None, :1], coords=COORDS[None, :1].astype(float))
    read, where = read_features(path, dim=8)
    np.testing.assert_array_equal(read, FEATURES[:1])
    np.testing.assert_array_equal(where, COORDS[:1])
