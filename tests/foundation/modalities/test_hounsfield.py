"""CT whose values are no Hounsfield units, and label maps among scans: refused, or read as declared, exactly."""

import base64
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from foundation.data.dictionary import DataDictionary
from foundation.data.image_looks import Look
from foundation.data.problems import DataError, Problems
from foundation.modalities.radiology.dicom import open_series
from foundation.modalities.radiology.label_maps import is_label_map
from foundation.modalities.radiology.scan import SliceSettings
from foundation.modalities.radiology.slices import read_slices
from foundation.modalities.radiology_volumes.preparation import PREPARATION, VolumeSource
from foundation.modalities.radiology_volumes.request import VolumesForm
from tests.foundation.modalities.volumes import GRID
from tests.foundation.scan_files import write_series

SOFT = SliceSettings(slices=None, side=48, window=(40, 400))
AIR, FAT, MUSCLE, BONE = (2, 2), (12, 12), (20, 20), (24, 24)
GREYS = {AIR: 0, FAT: 45, MUSCLE: 134, BONE: 255}  # of a window from -160 to 240
REAL = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
REAL_NIFTI = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"


def phantom(slices: int = 3) -> np.ndarray:
    """Hounsfield units `[slices, 48, 48]`: air, fat, muscle, bone."""
    voxels = np.full((slices, 48, 48), -1000)
    voxels[:, 8:40, 8:40], voxels[:, 16:32, 16:32], voxels[:, 22:26, 22:26] = -90, 50, 700
    noise = 2 * np.random.default_rng(0).integers(-10, 10, voxels.shape)
    for row, column in GREYS:
        noise[:, row, column] = 0
    return (voxels + noise).astype(np.int16)


def series(folder: Path, shift: int = 0, **tags: object) -> Path:
    """The phantom as a series whose stored values are Hounsfield units and `shift`."""
    path = write_series(folder / "scan", phantom(), RescaleSlope=1, RescaleIntercept=-1024)
    for index, file in enumerate(sorted(path.iterdir(), reverse=True)):
        dataset = pydicom.dcmread(file)
        dataset.PixelData = (phantom()[index] + shift).astype("<i2").tobytes()
        for name, value in tags.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        dataset.save_as(file)
    return path


def greys(path: Path, kind: str = "dicom", **settings: object) -> dict[tuple[int, int], int]:
    shown = read_slices(path, kind, SliceSettings(**{**vars(SOFT), **settings}), Problems())
    return {place: int(shown[0, *place, 0]) for place in GREYS}


LOST = {"RescaleSlope": None, "RescaleIntercept": None}
STORED = {
    "tags lost": LOST,
    "one tag lost": {"RescaleIntercept": None},
    "tags that change nothing": {"RescaleSlope": 1, "RescaleIntercept": 0},
}


def test_a_series_with_its_tags(tmp_path):
    assert greys(series(tmp_path, 1024)) == GREYS


@pytest.mark.parametrize("name", STORED)
def test_stored_values_are_refused_and_read_as_declared(tmp_path, name):
    path = series(tmp_path, 1024, **STORED[name])
    with pytest.raises(DataError, match=r"scan: field RescaleIntercept: .*no Hounsfield units.*declare rescale: \["):
        greys(path)
    assert greys(path, rescale=(1, -1024)) == GREYS


@pytest.mark.parametrize("tags", [LOST, {"RescaleSlope": 1, "RescaleIntercept": 0}])
def test_hounsfield_units_are_known_by_air(tmp_path, tags):
    """A converter that rescaled may write no tags, or ones that change nothing."""
    path = series(tmp_path, 0, **tags)
    assert greys(path) == GREYS
    assert greys(path, rescale=(1, -1024)) == GREYS


def test_slices_without_tags_among_others_are_not_let_through(tmp_path):
    path = series(tmp_path, 1024)
    first = min(path.iterdir())
    dataset = pydicom.dcmread(first)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.save_as(first)
    with pytest.raises(DataError, match="CT without rescale tags in 1 of 3 slices"):
        greys(path)
    voxels = open_series(path, Problems(), (1, -1024)).voxels
    np.testing.assert_array_equal(voxels, phantom())


def test_padding_around_what_was_scanned_is_no_air(tmp_path):
    path = series(tmp_path, 1024, **LOST)
    for file in path.iterdir():
        dataset = pydicom.dcmread(file)
        pixels = np.frombuffer(dataset.PixelData, "<i2").reshape(48, 48).copy()
        pixels[:4] = -2000
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(file)
    with pytest.raises(DataError, match="no Hounsfield units"):
        greys(path)


def test_other_scans_need_no_hounsfield_units(tmp_path):
    path = series(tmp_path, 1024, Modality="MR", **LOST)
    assert greys(path, window=None)[BONE] == 255
    assert read_slices(REAL, "dicom", SOFT, Problems()).shape == (1, 48, 48, 3)


def nifti(path: Path, voxels: np.ndarray, kind: type = np.int16) -> Path:
    image = np.ascontiguousarray(voxels.transpose(2, 1, 0)[::-1, ::-1]).astype(kind)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path


def test_nifti_with_a_window_holds_hounsfield_units(tmp_path):
    right, stored = nifti(tmp_path / "a.nii", phantom()), nifti(tmp_path / "b.nii", phantom() + 1024)
    assert greys(right, "nifti") == GREYS
    with pytest.raises(DataError, match=r"b\.nii: field voxels: no Hounsfield units: nothing is below air's 0"):
        greys(stored, "nifti")
    assert greys(stored, "nifti", rescale=(1, -1024)) == GREYS
    assert greys(right, "nifti", rescale=(1, -1024)) == GREYS
    assert greys(stored, "nifti", window=None)[BONE] == 255


def test_brains_cut_out_and_clipped_at_zero_are_not_taken_for_stored_values(tmp_path):
    brain = np.clip(phantom() - 15, 0, 100)
    assert greys(nifti(tmp_path / "a.nii", brain + (brain > 0) * np.arange(3)[:, None, None]), "nifti")[MUSCLE] > 0


def labels(few: bool) -> np.ndarray:
    voxels = np.zeros((6, 48, 48), np.int16)
    voxels[1:5, 8:30, 8:30] = 1
    voxels[2:4, 12:20, 12:20] = 4
    if not few:
        for label in range(5, 40):
            voxels[1:5, 30:40, label : label + 2] = label
            voxels[1:5, 2 * (label % 12) : 2 * (label % 12) + 2, 40:47] = label
    return voxels


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_label_maps_are_refused_whatever_they_are_called(tmp_path, few, kind):
    path = nifti(tmp_path / "P1_t1.nii.gz", labels(few), kind)
    with pytest.raises(DataError, match=r"P1_t1\.nii\.gz: field voxels: a mask or label map, no scan: few values"):
        greys(path, "nifti", window=None)
    assert read_slices(path, "nifti", SliceSettings(label_maps=True), Problems()).shape[0] == 6


def test_scans_are_no_label_maps():
    assert not is_label_map(np.asarray(nibabel.load(REAL_NIFTI).dataobj))
    coarse = np.random.default_rng(0).normal(8, 3, (16, 16, 8)).round().clip(0, 15)
    assert not is_label_map(coarse)
    coarse[:10] = 0
    assert not is_label_map(coarse)


def test_volumes_are_held_to_the_same(tmp_path):
    dictionary = DataDictionary(settings={"radiology_volumes": GRID})
    for name, voxels, words in (("a", labels(True), "a mask or label map"), ("b", phantom() + 1024, "no Hounsfield")):
        path = nifti(tmp_path / f"{name}.nii.gz", voxels)
        with pytest.raises(DataError, match=words):
            PREPARATION.open(Look("north", "P1", path, "nifti"), VolumeSource(files="*"), dictionary, Problems())
    kept = VolumeSource(files="*", annotations="keep", rescale=(1, -1024))
    for name in "ab":
        PREPARATION.open(Look("north", "P1", tmp_path / f"{name}.nii.gz", "nifti"), kept, dictionary, Problems())


def test_a_request_is_held_to_the_same(tmp_path):
    form = VolumesForm(grid=GRID)
    warnings: list[str] = []
    given = [base64.b64encode(nifti(tmp_path / "a.nii.gz", labels(True)).read_bytes()).decode()]
    form.read(given, "radiology_volumes", warnings)
    assert "radiology_volumes[0]: looks like a mask or label map, no scan: few values in even patches" in warnings
    given = [base64.b64encode(nifti(tmp_path / "b.nii.gz", phantom() + 1024).read_bytes()).decode()]
    with pytest.raises(DataError, match=r"radiology_volumes\[0\]: field voxels: no Hounsfield units"):
        form.read(given, "radiology_volumes", warnings)
