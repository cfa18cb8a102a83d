"""Scans read as radiologists look at them, whatever their file."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGLosslessSV1, JPEGLSLossless

from foundation.data.problems import DataError, Problems
from foundation.modalities.radiology.dicom import read_series
from foundation.modalities.radiology.nifti import read_nifti
from foundation.modalities.radiology.scan import Scan, SliceSettings, choose, to_slices
from foundation.modalities.radiology.slices import read_slices
from foundation.modalities.radiology_volumes.scans import read_volume
from tests.foundation.modalities.radiology_scans import ALL, REAL, REAL_NIFTI, header, report
from tests.foundation.scan_files import body, dicom, enhanced, save, write_nifti, write_series


def coded(volume: np.ndarray, syntax: UID, bits: int) -> Dataset:
    """Stored values from -2**(bits - 1) on, as JPEG-LS or lossless JPEG with that many bits."""
    dataset = dicom(volume, BitsStored=bits, HighBit=bits - 1, RescaleSlope=1, RescaleIntercept=0)
    words = (volume.astype(np.int32) & (2**bits - 1)).astype(np.uint16)
    if syntax == JPEGLSLossless:
        frame = imagecodecs.jpegls_encode(words, level=0)
    else:
        frame = imagecodecs.ljpeg_encode(words, bitspersample=bits)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    return dataset


def test_a_series_is_sorted_in_space_and_rescaled(tmp_path):
    problems = Problems()
    scan = read_series(write_series(tmp_path / "scan"), ALL, problems)
    np.testing.assert_array_equal(scan.voxels, body() // 2 * 2)
    assert (scan.spacing, scan.window, scan.inverted) == ((2, 2), (-500, 2000), False)
    assert not problems.listed
    listed = sorted((tmp_path / "scan").iterdir(), key=lambda path: path.stat().st_ino)
    np.testing.assert_array_equal(read_series(listed, ALL, problems).voxels, scan.voxels)


def test_without_positions_numbers_sort(tmp_path):
    scan = read_series(write_series(tmp_path / "scan", ImagePositionPatient=None), ALL, Problems())
    np.testing.assert_array_equal(scan.voxels, body() // 2 * 2)


def test_positions_go_before_numbers_and_a_tilted_stack_is_sorted_along_its_normal(tmp_path):
    tilt = [1, 0, 0, 0, np.cos(0.3), np.sin(0.3)]
    for index, pixels in enumerate(body()):
        position = [0, -5 * index * np.sin(0.3), 5 * index * np.cos(0.3)]
        tags = {"ImagePositionPatient": [round(part, 6) for part in position], "InstanceNumber": 6 - index}
        tags["ImageOrientationPatient"] = [round(part, 6) for part in tilt]
        save(dicom(pixels, **tags), tmp_path / "scan" / f"{index}.dcm")
    np.testing.assert_array_equal(read_series(tmp_path / "scan", ALL, Problems()).voxels, body() // 2 * 2)


def test_an_enhanced_file_is_the_same_scan(tmp_path):
    path = save(enhanced(body()), tmp_path / "a.dcm")
    scan = read_series(path, ALL, Problems())
    np.testing.assert_array_equal(scan.voxels, body() // 2 * 2)
    assert scan.spacing == (2, 2)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "SRA", "PIR", "ASL"])
def test_nifti_shows_the_same_as_dicom_however_it_is_stored(tmp_path, axes):
    write_series(tmp_path / "scan")
    write_nifti(tmp_path / "a.nii.gz", body() // 2 * 2, axes)
    from_dicom = read_slices(tmp_path / "scan", "dicom", ALL, Problems())
    from_nifti = read_slices(tmp_path / "a.nii.gz", "nifti", ALL, Problems())
    np.testing.assert_array_equal(from_dicom, from_nifti)
    assert from_dicom.shape == (6, 32, 32, 3)
    # Brighter to the head, to the back and to the left of the body: down and to the right in the picture.
    assert from_dicom[0].mean() < from_dicom[-1].mean()
    assert from_dicom[2, 6, 4, 0] < from_dicom[2, 25, 4, 0]
    assert from_dicom[2, 6, 2, 0] < from_dicom[2, 6, 29, 0]


def test_missing_slices_are_told(tmp_path):
    problems = Problems()
    folder = write_series(tmp_path / "scan", body(8))
    for name in ("003.dcm", "004.dcm"):
        (folder / name).unlink()
    assert len(read_series(folder, ALL, problems).voxels) == 6
    assert "scan: field ImagePositionPatient: 2 slices missing by their positions" in str(problems.warnings[0])
    folder = write_series(tmp_path / "other", body(8), ImagePositionPatient=None)
    (folder / "003.dcm").unlink()
    read_series(folder, ALL, problems)
    assert "other: field InstanceNumber: 1 slices missing by their numbers" in str(problems.warnings[1])


def test_what_is_no_scan_is_left_out_and_told(tmp_path):
    folder, problems = write_series(tmp_path / "scan"), Problems()
    report(folder / "report.dcm")
    scout = dicom(body()[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.2.3.7")
    save(scout, folder / "scout.dcm")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "DICOMDIR").write_bytes(b"x")
    np.testing.assert_array_equal(read_series(folder, ALL, problems).voxels, body() // 2 * 2)
    assert [Path(problem.file).name for problem in problems.warnings] == ["report.dcm", "scout.dcm"]


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE",
        "MR_small_bigendian",
        "MR_small_implicit",
        "MR_small_jp2klossless",
        "MR_small_jpeg_ls_lossless",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_real_scan_is_the_same_in_every_encoding(name):
    plain = read_slices(REAL / "MR_small.dcm", "dicom", ALL, Problems())
    np.testing.assert_array_equal(read_slices(REAL / f"{name}.dcm", "dicom", ALL, Problems()), plain)


def test_a_real_ct_is_windowed():
    scan = read_series(REAL / "CT_small.dcm", SliceSettings(), Problems())
    raw = pydicom.dcmread(REAL / "CT_small.dcm")
    np.testing.assert_array_equal(scan.voxels[0], raw.pixel_array - 1024.0)
    assert scan.window == (40, 400)
    shown = to_slices(scan, SliceSettings(side=128))
    expected = np.clip((raw.pixel_array - 1024.0 + 160) / 400, 0, 1) * 255
    np.testing.assert_array_equal(shown[0, ..., 0], np.round(expected))


def test_real_lossless_jpeg_and_colour_are_decoded():
    plain, lossless = (
        read_slices(REAL / name, "dicom", SliceSettings(side=100), Problems())
        for name in ("SC_rgb_rle.dcm", "SC_rgb_jpeg_gdcm.dcm")
    )
    np.testing.assert_array_equal(plain, lossless)
    assert plain[0, 5, 50].tolist() == [255, 0, 0]


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("bits", [12, 16])
def test_signed_values_keep_their_sign(tmp_path, syntax, bits):
    stored = (np.arange(64 * 48).reshape(64, 48) - 1536).astype(np.int16)
    scan = read_series(save(coded(stored, syntax, bits), tmp_path / "a.dcm"), ALL, Problems())
    np.testing.assert_array_equal(scan.voxels[0], stored)


@pytest.mark.filterwarnings("ignore")
def test_real_twelve_bit_jpeg_shows_what_its_twin_in_jpeg_2000_does():
    first, second = (read_series(REAL / name, ALL, Problems()).voxels[0] for name in ("JPEG-lossy.dcm", "JPEG2000.dcm"))
    assert first.shape == second.shape == (1024, 256)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9


def test_a_real_nifti_is_read():
    problems = Problems()
    slices = read_slices(REAL_NIFTI, "nifti", SliceSettings(slices=3, side=64), problems)
    assert slices.shape == (3, 64, 64, 3)
    assert (slices[..., 0] == slices[..., 1]).all()
    assert not problems.errors


def test_high_is_dark_in_monochrome1(tmp_path):
    light, dark = (
        read_slices(
            write_series(tmp_path / kind, Modality="MR", PhotometricInterpretation=kind), "dicom", ALL, Problems()
        )
        for kind in ("MONOCHROME2", "MONOCHROME1")
    )
    inside = slice(4, 28)
    np.testing.assert_array_equal(dark[:, inside], 255 - light[:, inside])


def test_hounsfield_units_are_densities_whatever_a_screen_is_told(tmp_path):
    series = [write_series(tmp_path / kind, PhotometricInterpretation=kind) for kind in ("MONOCHROME2", "MONOCHROME1")]
    one, other = (read_slices(each, "dicom", ALL, Problems()) for each in series)
    np.testing.assert_array_equal(one, other)
    volumes = [read_volume(each, "dicom", None, Problems()) for each in series]
    np.testing.assert_array_equal(volumes[0].voxels, volumes[1].voxels)


def test_a_channel_is_chosen_and_voxels_without_a_number_are_dark(tmp_path):
    channels = np.stack([body(), -body()], 3).astype(np.float32)
    channels[0, 0, 0, 1] = np.nan
    path, problems = write_nifti(tmp_path / "a.nii", channels), Problems()
    scan = read_nifti(path, SliceSettings(channel=1), problems)
    np.testing.assert_array_equal(scan.voxels.ravel()[1:], -body().ravel()[1:])
    assert scan.voxels[0, 0, 0] == scan.voxels.min()
    assert "a.nii: field voxels: 0.02% of voxels are no numbers" in str(problems.warnings[0])
    with pytest.raises(DataError, match=r"a\.nii: field channel: no channel 2 among 2"):
        read_nifti(path, SliceSettings(channel=2), problems)


def test_a_volume_that_does_not_say_how_it_lies_is_told(tmp_path):
    problems = Problems()
    read_nifti(header(252, bytes(4))(tmp_path), ALL, problems)
    assert "a.nii: field sform_code: does not say how it lies in space" in str(problems.warnings[0])


@given(st.integers(1, 200), st.none() | st.integers(1, 50))
def test_slices_chosen_are_some_of_those_there_are(count, wanted):
    chosen = choose(count, wanted)
    assert len(chosen) == min(count, wanted or count)
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < count
    assert abs((chosen[0] + chosen[-1]) - (count - 1)) <= 1, "as much is left out before as behind"


def test_proportions_are_kept_on_black():
    scan = Scan(np.full((1, 10, 40, 3), 200, np.uint8), spacing=(2.0, 1.0))
    shown = to_slices(scan, SliceSettings(side=40))[0, ..., 0]
    assert (shown[10:30] == 200).all()
    assert (shown[:10] == 0).all()
    assert (shown[30:] == 0).all()
