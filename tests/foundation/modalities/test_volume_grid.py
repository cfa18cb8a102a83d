"""One grid, whatever the file, its orientation and spacing; what is no scan is refused in one line."""

import base64
import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from foundation.data.declaration import declare
from foundation.data.problems import DataError, Problems
from foundation.errors import UserError
from foundation.modalities.radiology.scan import Volume
from foundation.modalities.radiology_volumes.grid import Grid
from foundation.modalities.radiology_volumes.request import VolumesForm
from foundation.modalities.radiology_volumes.scans import read_volume
from tests.foundation.modalities.volumes import GRID, NAME, declaration, placed
from tests.foundation.scan_files import body, dicom, write_nifti, write_series
from tests.foundation.scan_files import save as save_dicom


def ball(spacing: float, radius: float = 20.0, side: float = 80.0) -> Volume:
    """A bright ball in the middle of a cube of air, sizes in millimetres."""
    count = round(side / spacing)
    axis = (np.arange(count) - (count - 1) / 2) * spacing
    far = np.linalg.norm(np.stack(np.meshgrid(axis, axis, axis, indexing="ij")), axis=0)
    voxels = np.where(far < radius, 100.0, -1000.0).astype(np.float32)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = 37.0  # where the scanner's origin lies must not matter
    return Volume(voxels, affine, (spacing,) * 3)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "SAL", "PIR"])
def test_place_gives_one_array_for_every_orientation_of_a_file(tmp_path, axes):
    first = placed(write_nifti(tmp_path / "first.nii.gz"), "nifti")
    assert first.shape == (16, 12, 8, 2) and first.dtype == np.uint8
    np.testing.assert_array_equal(placed(write_nifti(tmp_path / "other.nii.gz", axes=axes), "nifti"), first)


def test_place_gives_the_same_of_a_dicom_series_and_of_nifti(tmp_path):
    volume = body() // 2 * 2  # the series stores every second Hounsfield unit
    series = placed(write_series(tmp_path / "series", volume), "dicom")
    np.testing.assert_array_equal(placed(write_nifti(tmp_path / "a.nii.gz", volume), "nifti"), series)


def test_place_puts_right_front_and_up_where_they_belong(tmp_path):
    """The body brightens towards the head, the back and the patient's left; see `scan_files.body`."""
    scan = placed(write_series(tmp_path / "series"), "dicom", Grid(spacing=(4, 4, 5), shape=(14, 10, 8)))[..., 0]
    inside = scan[1:-1, 1:-1, 2:-2].astype(int)
    assert (np.diff(inside, axis=0) <= 0).all() and (np.diff(inside, axis=1) <= 0).all()
    assert (np.diff(inside, axis=2) > 0).all()


@pytest.mark.parametrize("spacing", [1.0, 2.5, 4.0])
def test_place_keeps_sizes_in_millimetres_whatever_the_spacing(spacing):
    scan = Grid(spacing=(4, 4, 4), shape=(24, 24, 24), windows=[(0, 400)]).place(ball(spacing))[..., 0]
    wanted = 4 / 3 * np.pi * 20**3
    assert (scan > 0).sum() * 4**3 == pytest.approx(wanted, rel=0.25)
    middle = np.argwhere(scan > 0).mean(axis=0)
    np.testing.assert_allclose(middle, [11.5] * 3, atol=0.1)
    assert scan[0, 0, 0] == 0, "what was not scanned is black"


def test_windows_are_a_channel_each_and_percentiles_hold_without():
    scan = ball(4.0)
    low, high = np.moveaxis(Grid(windows=[(0, 400), (100, 100)]).place(scan), -1, 0)
    assert low[48, 48, 48] == round(255 * 300 / 400) and high[48, 48, 48] == round(255 / 2)
    grey = Grid(shape=(20, 20, 20), spacing=(4, 4, 4)).place(scan)
    assert grey.shape[-1] == 1 and {grey.min(), grey.max()} == {0, 255}


def without_position(folder: Path) -> None:
    for index, pixels in enumerate(body()):
        save_dicom(dicom(pixels, ImagePositionPatient=None, InstanceNumber=index + 1), folder / f"{index}.dcm")


def without_pixel_size(folder: Path) -> None:
    write_series(folder, PixelSpacing=None)


def one_slice(folder: Path) -> None:
    write_series(folder, body(1))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (without_position, "field ImagePositionPatient: does not say how it lies in space"),
        (without_pixel_size, "field PixelSpacing: does not say how large its pixels are"),
        (one_slice, "one slice is no volume"),
    ],
)
def test_a_series_without_its_place_in_space_is_refused(tmp_path, write: Callable[[Path], None], words: str):
    write(tmp_path / "series")
    with pytest.raises(DataError, match=words):
        read_volume(tmp_path / "series", "dicom", None, Problems())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"spacing": [0, 1, 1]}, r"field dictionary\.settings\.radiology_volumes\.spacing: .*give millimetres above 0"),
        ({"shape": [4, 96, 96]}, r"radiology_volumes\.shape: .*give 8 to 1024 voxels"),
        ({"windows": [[40, 0]]}, r"radiology_volumes\.windows: .*width is above 0"),
        ({"size": 3}, r"radiology_volumes\.size: Extra inputs"),
    ],
)
def test_a_wrong_grid_is_one_line_of_the_declaration(wrong, words):
    with pytest.raises(DataError, match=words):
        declare(declaration(**wrong), Path("cohort.yaml"))


def zipped(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content)).decode()


UNREADABLE: dict[str, tuple[object, str]] = {
    "text": ("abc", "found 'abc'; give a list of base64 .nii.gz files"),
    "nothing": ([], "give a list"),
    "no base64": (["?"], r"\[0\]: not base64"),
    "a number": ([3], r"\[0\]: found 3; give a .nii.gz file as base64"),
    "not gzipped": ([base64.b64encode(b"abc").decode()], "no gzip file"),
    "cut off": ([base64.b64encode(gzip.compress(b"abc" * 99)[:-9]).decode()], "cut off"),
    "no NIfTI": ([zipped(b"abc")], "no readable NIfTI file"),
    "a plane": ([zipped(nibabel.Nifti1Image(np.eye(9, dtype=np.int16), np.eye(4)).to_bytes())], "not three-dim"),
    "too many": ([""] * 17, "17 scans; give at most 16"),
}


@pytest.mark.parametrize(("value", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_scan_is_refused_by_field(value, words):
    with pytest.raises(UserError, match=words) as caught:
        VolumesForm(grid=Grid.model_validate(GRID)).read(value, NAME, [])
    assert str(caught.value).startswith(NAME) and "\n" not in str(caught.value)


def test_a_scan_that_swells_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("foundation.modalities.radiology_volumes.request._LARGEST", 1 << 20)
    with pytest.raises(UserError, match="more than 1 MiB uncompressed"):
        VolumesForm(grid=Grid()).read([zipped(bytes(1 << 21))], NAME, [])


def header_of(**fields: object) -> list[str]:
    """A scan whose header says something else than it was written with."""
    image = nibabel.Nifti1Image(body(), np.eye(4))
    image.header.set_sform(np.eye(4), 1)
    content = bytearray(image.to_bytes())
    header = np.ndarray((), nibabel.Nifti1Header.template_dtype, content)
    for name, value in fields.items():
        header[name] = value
    return [zipped(bytes(content))]


MISLEADING = {
    "voxels of an atom": ({"srow_x": [1e-8, 0, 0, 0]}, "field spacing: voxels of no size that scanners make"),
    "voxels of a house": ({"srow_z": [0, 0, 1e4, 0]}, "field spacing: voxels of no size that scanners make"),
    "fewer than no voxels": ({"dim": [3, -6, -24, 32, 1, 1, 1, 1]}, "field dim: a negative number of voxels"),
    "on the grid, of fewer than none": (
        {"dim": [3, -6, -24, 32, 1, 1, 1, 1], "datatype": 2, "bitpix": 8, "intent_name": b"on the grid"},
        "field dim: a negative number of voxels",
    ),
    "voxels in the header": ({"vox_offset": 0}, "field vox_offset: voxels that begin within its header"),
    "voxels nowhere": ({"vox_offset": np.inf}, "no readable NIfTI file"),
    "voxels far beyond the end": ({"vox_offset": 1e30}, "cut off: fewer voxels than its header says"),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("fields", "words"), MISLEADING.values(), ids=MISLEADING)
def test_a_scan_with_a_misleading_header_is_refused_at_once(fields, words):
    with pytest.raises(UserError, match=words):
        VolumesForm(grid=Grid.model_validate(GRID)).read(header_of(**fields), NAME, [])


def test_a_scan_of_too_many_voxels_is_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr("foundation.modalities.radiology_volumes.request._VOXELS", body().size - 1)
    with pytest.raises(UserError, match=f"field dim: more than {body().size - 1} voxels"):
        VolumesForm(grid=Grid()).read(header_of(), NAME, [])
