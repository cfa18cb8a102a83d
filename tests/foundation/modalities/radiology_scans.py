"""Scans for tests of radiology, whole and damaged."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom

from foundation.modalities.radiology.scan import SliceSettings
from tests.foundation.scan_files import dicom, save, write_nifti

ALL = SliceSettings(slices=None, side=32, window=(-500, 2000))
REAL = Path(pydicom.__file__).parent / "data" / "test_files"
REAL_NIFTI = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"


def report(path: Path) -> Path:
    dataset = dicom(np.zeros((2, 2)), Modality="SR")
    del dataset.PixelData
    return save(dataset, path)


def volume(array: np.ndarray, suffix: str = ".nii") -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"a{suffix}")
        return folder / f"a{suffix}"

    return build


def header(offset: int, value: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        content = bytearray(write_nifti(folder / "a.nii").read_bytes())
        content[offset : offset + len(value)] = value
        (folder / "a.nii").write_bytes(content)
        return folder / "a.nii"

    return build
