"""Radiology: the same body from every format, what is refused, and that nobody's name gets through."""

import gzip
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, HTJ2KLossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from foundation.data.image_files import read_image
from foundation.data.problems import DataError, Problems
from foundation.modalities.radiology.dicom import read_series
from foundation.modalities.radiology.dicom_tags import TECHNICAL, identifying_tags
from foundation.modalities.radiology.nifti import read_nifti
from foundation.modalities.radiology.scan import Scan, SliceSettings, choose, to_slices
from foundation.modalities.radiology.slices import read_slices
from tests.foundation.scan_files import SECRETS, body, dicom, enhanced, save, write_nifti, write_series

ALL = SliceSettings(slices=None, side=32, window=(-500, 2000))
REAL = Path(pydicom.__file__).parent / "data" / "test_files"
REAL_NIFTI = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"


def change(path: Path, **tags: object) -> Path:
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)
    return path


def spoil(file: Callable[[Path], object]) -> Callable[[Path], Path]:
    """A good series, one file of which is spoilt."""

    def build(folder: Path) -> Path:
        file(write_series(folder / "scan") / "003.dcm")
        return folder / "scan"

    return build


def one(**tags: object) -> Callable[[Path], Path]:
    return spoil(lambda path: change(path, **tags))


def cut(path: Path, keep: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


def with_bytes(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def compressed(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.PixelData = dataset.PixelData[:60] + bytes(len(dataset.PixelData) - 60)
    dataset.save_as(path)


def mislabelled(syntax: str) -> Callable[[Path], object]:
    def spoilt(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.save_as(path)

    return spoilt


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


def report(path: Path) -> Path:
    dataset = dicom(np.zeros((2, 2)), Modality="SR")
    del dataset.PixelData
    return save(dataset, path)


def two(folder: Path, **tags: object) -> Path:
    write_series(folder / "scan" / "a")
    write_series(folder / "scan" / "b", **tags)
    return folder / "scan"


def volume(array: np.ndarray, suffix: str = ".nii") -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"a{suffix}")
        return folder / f"a{suffix}"

    return build


def packed(keep: float) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        noise = np.random.default_rng(0).integers(-1000, 1000, (6, 24, 32)).astype(np.int16)
        return cut(write_nifti(folder / "a.nii.gz", noise), keep)

    return build


def damaged_gzip(folder: Path) -> Path:
    content = bytearray(write_nifti(folder / "a.nii.gz").read_bytes())
    content[-8] ^= 0xFF  # the checksum
    (folder / "a.nii.gz").write_bytes(content)
    return folder / "a.nii.gz"


def header(offset: int, value: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        content = bytearray(write_nifti(folder / "a.nii").read_bytes())
        content[offset : offset + len(value)] = value
        (folder / "a.nii").write_bytes(content)
        return folder / "a.nii"

    return build


def collapsed(folder: Path) -> Path:
    image = nibabel.Nifti1Image(body(), np.eye(4))
    image.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), 1)
    nibabel.save(image, folder / "a.nii")
    content = bytearray((folder / "a.nii").read_bytes())
    content[280 + 32 : 280 + 48] = bytes(16)  # srow_z
    (folder / "a.nii").write_bytes(content)
    return folder / "a.nii"


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return build


def pages(folder: Path) -> Path:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 99)]
    frames[0].save(folder / "a.tif", save_all=True, append_images=frames[1:])
    return folder / "a.tif"


def half_image(folder: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(folder / "a.png")
    return cut(folder / "a.png", 0.5)


DICOM: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no such file": (lambda folder: folder / "none.dcm", r"none\.dcm: no such file"),
    "an empty folder": (lambda folder: folder, r": no file in the folder"),
    "an empty file": (spoil(lambda path: path.write_bytes(b"")), r"003\.dcm: empty file"),
    "text in the folder": (
        spoil(lambda path: path.with_name("notes.txt").write_text("x" * 200)),
        r"notes\.txt: no DICOM file .*take it out of the folder",
    ),
    "an image named .dcm": (
        spoil(lambda path: Image.new("L", (64, 64)).save(path, "PNG")),
        r"003\.dcm: no DICOM file",
    ),
    "cut off in the header": (
        spoil(lambda path: cut(path, 0.3)),
        r"003\.dcm: field PixelData: no pixels: cut off, or no image",
    ),
    "cut off in the pixels": (
        spoil(lambda path: cut(path, 0.9)),
        r"003\.dcm: field PixelData: pixels cut off or damaged; export",
    ),
    "compressed pixels damaged": (
        spoil(compressed),
        r"003\.dcm: field PixelData: pixels cut off or cannot be decoded, RLE Lossless; write it uncompressed",
    ),
    "compressed otherwise than said": (
        spoil(mislabelled(JPEGLSLossless)),
        r"003\.dcm: field PixelData: pixels cut off or cannot be decoded, JPEG-LS Lossless",
    ),
    "a real file cut off": (lambda folder: REAL / "MR_truncated.dcm", r"MR_truncated\.dcm: field PixelData: pixels"),
    "a real file no decoder reads": (
        lambda folder: REAL / "JPEG2000-embedded-sequence-delimiter.dcm",
        r"delimiter\.dcm: field PixelData: .*JPEG 2000 Image Compression; .*gdcmconv --raw",
    ),
    "no DICM": (lambda folder: REAL / "no_meta.dcm", r"no_meta\.dcm: no DICOM file"),
    "an encoding that is not decoded": (
        spoil(mislabelled(HTJ2KLossless)),
        r"003\.dcm: field PixelData: .*cannot be decoded, High-Throughput JPEG 2000.*gdcmconv --raw",
    ),
    "an encoding that is none": (
        spoil(lambda path: with_bytes(path, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.1\0\0\0")),
        r"003\.dcm: field TransferSyntaxUID: names no way of encoding",
    ),
    "encoding not said": (
        lambda folder: REAL / "meta_missing_tsyntax.dcm",
        r"meta_missing_tsyntax\.dcm: field TransferSyntaxUID: does not say how its pixels are encoded",
    ),
    "a report alone": (lambda folder: report(folder / "scan" / "a.dcm").parent, r"scan: no scan among 1 DICOM files"),
    "a segmentation alone": (lambda folder: REAL / "liver_1frame.dcm", r"liver_1frame\.dcm: no scan among 1 DICOM"),
    "text burned in": (one(BurnedInAnnotation="YES"), r"003\.dcm: field BurnedInAnnotation: text is burned into the"),
    "two patients": (lambda folder: two(folder, PatientID="other"), r"scan: field PatientID: files of 2 patients lie"),
    "two series": (
        lambda folder: two(folder, SeriesInstanceUID="1.2.3.9"),
        r"scan: field SeriesInstanceUID: files of 2 series lie together; give each of the series its own folder",
    ),
    "a slice twice": (
        spoil(lambda path: shutil.copy(path, path.with_name("copy.dcm"))),
        r"copy\.dcm: field ImagePositionPatient: another slice lies at its position",
    ),
    "a number twice": (
        lambda folder: two(folder, ImagePositionPatient=None),
        r"\.dcm: field InstanceNumber: its number stands twice in the series",
    ),
    "neither position nor number": (
        one(ImagePositionPatient=None, InstanceNumber=None),
        r"003\.dcm: field ImagePositionPatient: neither position nor number",
    ),
    "planes across each other": (
        one(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
        r"scan: field ImageOrientationPatient: slices lie in different planes",
    ),
    "a position in words": (
        spoil(lambda path: with_bytes(path, b"0.0\\0.0\\15.0", b"0.0\\Doe\\15.0")),
        r"003\.dcm: field ImagePositionPatient: damaged or malformed",
    ),
    "a position on a plane": (one(ImagePositionPatient=[0, 5]), r"003\.dcm: field ImagePositionPatient: damaged or"),
    "no slope": (one(RescaleSlope=0), r"003\.dcm: field RescaleSlope: damaged or malformed"),
    "no spacing at all": (
        lambda folder: write_series(folder / "scan", PixelSpacing=[0, 0]),
        r"\.dcm: field PixelSpacing: damaged or malformed",
    ),
    "another size": (
        spoil(lambda path: save(dicom(body()[3, :20], ImagePositionPatient=[0, 0, 15]), path)),
        r"\.dcm: field Rows: (20 by 32|24 by 32) pixels, others have",
    ),
    "more rows than pixels": (one(Rows=512), r"003\.dcm: field PixelData: pixels cut off or damaged"),
    "no rows": (one(Rows=None), r"003\.dcm: field PixelData: pixels cut off or damaged"),
    "all of one value": (
        lambda folder: write_series(folder / "scan", np.zeros((3, 8, 8), np.int16)),
        r"scan: field PixelData: all pixels have one value",
    ),
}
NIFTI: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no such file": (lambda folder: folder / "none.nii", r"none\.nii: no such file"),
    "empty": (written("a.nii", b""), r"a\.nii: empty file"),
    "text": (written("a.nii", b"not a volume " * 40), r"a\.nii: no readable NIfTI file"),
    "text packed": (written("a.nii.gz", gzip.compress(b"not a volume " * 40)), r"a\.nii\.gz: no readable NIfTI file"),
    "not packed, whatever its name": (
        lambda folder: write_nifti(folder / "a.nii").rename(folder / "a.nii.gz"),
        r"a\.nii\.gz: no gzip file, cut off or damaged",
    ),
    "cut off in the header": (lambda folder: cut(write_nifti(folder / "a.nii"), 0.02), r"a\.nii: no readable NIfTI"),
    "cut off": (lambda folder: cut(write_nifti(folder / "a.nii"), 0.8), r"a\.nii: field voxels: cut off: fewer"),
    "packed and cut off": (packed(0.8), r"a\.nii\.gz: no gzip file, cut off"),
    "packed and cut off early": (packed(0.01), r"a\.nii\.gz: no gzip file, cut off"),
    "packed, checksum wrong": (damaged_gzip, r"a\.nii\.gz: no gzip file, cut off or damaged"),
    "an unknown type": (header(70, b"\x39\x30"), r"a\.nii: no readable NIfTI file"),
    "the magic gone": (header(344, b"oops"), r"a\.nii: (another format|no readable)"),
    "dimensions gone": (header(40, bytes(16)), r"a\.nii: (field dim|no readable|field voxels)"),
    "dimensions beyond belief": (
        header(42, b"\xff\x7f\xff\x7f\xff\x7f"),
        r"a\.nii: field voxels: cut off: fewer voxels .*32767, 32767",
    ),
    "axes that span no space": (collapsed, r"a\.nii: field affine: axes that span no space"),
    "four dimensions": (
        volume(np.zeros((4, 4, 4, 3), np.int16)),
        r"a\.nii: field dim: 3 volumes \(\(4, 4, 4, 3\)\); choose one by channel",
    ),
    "five dimensions": (volume(np.zeros((4, 4, 4, 2, 3), np.int16)), r"a\.nii: field dim: not three-dimensional"),
    "two dimensions": (volume(np.arange(16, dtype=np.int16).reshape(4, 4)), r"field dim: not three-dimensional"),
    "complex": (volume(np.ones((4, 4, 4), np.complex64)), r"field datatype: colour or complex voxels \(complex64\)"),
    "colour": (
        volume(np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        r"a\.nii: field datatype: colour or complex voxels",
    ),
    "all of one value": (volume(np.ones((4, 4, 4), np.float32)), r"a\.nii: field voxels: all voxels have one value"),
    "nothing but NaN": (volume(np.full((4, 4, 4), np.nan, np.float32)), r"field voxels: .* or none is a number"),
    "another format": (
        lambda folder: Path(shutil.copy(REAL_NIFTI.with_name("minc1_4d.mnc"), folder / "a.nii")),
        r"a\.nii: (another format|no readable)",
    ),
}
IMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no such file": (lambda folder: folder / "none.png", r"none\.png: not readable as an image"),
    "empty": (written("a.png", b""), r"a\.png: not readable as an image"),
    "text": (written("a.jpg", b"no image"), r"a\.jpg: not readable as an image"),
    "a web page": (written("a.png", b"<!DOCTYPE html><title>Login</title>"), r"a\.png: not readable as an image"),
    "cut off": (half_image, r"a\.png: not readable as an image"),
    "several pages": (pages, r"a\.tif: field pages: 2 pages; save one image a file"),
}
CORRUPT = {
    **{f"DICOM: {name}": ("dicom", *case) for name, case in DICOM.items()},
    **{f"NIfTI: {name}": ("nifti", *case) for name, case in NIFTI.items()},
    **{f"image: {name}": ("images", *case) for name, case in IMAGES.items()},
}


@pytest.mark.parametrize(("kind", "build", "line"), CORRUPT.values(), ids=CORRUPT)
@pytest.mark.filterwarnings("ignore")
def test_damage_is_one_line_that_names_nobody(tmp_path, kind, build, line):
    path = build(tmp_path)
    with pytest.raises(DataError, match=line) as caught:
        read_image(path) if kind == "images" else read_slices(path, kind, ALL, Problems())
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    assert not any(secret in text for secret in SECRETS.values())


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


def test_technical_tags_alone_are_no_identity():
    dataset = dicom(body()[0], PatientAge="075Y", KVP=120)
    dataset.add_new(0x00091001, "LO", "private Secretia")
    dataset.OtherPatientIDsSequence = [Dataset()]
    dataset.OtherPatientIDsSequence[0].PatientID = "MRN0815"
    dataset.add_new(0x60003000, "OW", b"\0\0")
    found = identifying_tags(dataset)
    assert {*SECRETS, "PatientAge", "SOPInstanceUID", "StudyInstanceUID", "private tags", "OverlayData"} <= set(found)
    assert not set(found) & {*TECHNICAL, "SOPClassUID", "PixelData", "RescaleSlope", "ImagePositionPatient"}
    assert not any(value in " ".join(found) for value in (*SECRETS.values(), "Secretia", "MRN0815"))


def test_the_protected_attributes_of_the_standard_are_all_found():
    # A sample over all kinds of DICOM PS3.15 table E.1-1, filled as a hospital would.
    protected = {
        "AcquisitionDateTime": "20240131120000",
        "AdmittingDiagnosesDescription": "glioma",
        "DeviceSerialNumber": "SN1",
        "EthnicGroup": "x",
        "FrameOfReferenceUID": "1.2.3",
        "ImageComments": "seen with Dr House",
        "InstitutionAddress": "Street 1",
        "OperatorsName": "ROE^RICHARD",
        "OtherPatientNames": "DOE^S",
        "PatientAddress": "Street 2",
        "PatientSex": "F",
        "PatientTelephoneNumbers": "555",
        "PatientWeight": "70",
        "PerformedProcedureStepDescription": "x",
        "PhysiciansOfRecord": "A^B",
        "ProtocolName": "Head Doe",
        "RequestedProcedureID": "1",
        "SeriesDescription": "x",
        "StationName": "CT01",
        "StudyID": "1",
        "StudyTime": "120000",
    }
    dataset = Dataset()
    for name, value in protected.items():
        setattr(dataset, name, value)
    assert identifying_tags(dataset) == sorted(protected)
    assert not {*protected} & {*TECHNICAL}


def test_no_name_reaches_the_console_nor_what_is_kept(tmp_path, capfd):
    tags = {"PatientName": "DOE^SECRETIA" * 9, "PatientID": "MRN4711" * 20, "PatientBirthDate": "Secretia's"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the writing
        write_series(tmp_path / "scan", **tags)
    problems = Problems()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read_series(tmp_path / "scan", ALL, problems)
        found = identifying_tags(pydicom.dcmread(tmp_path / "scan" / "001.dcm"))
    said = " ".join([*(str(warning.message) for warning in told), *capfd.readouterr(), *map(str, problems.listed)])
    kept = json.dumps(found)
    assert not any(word in said + kept for word in ("SECRETIA", "Secretia", "MRN4711", "Elsewhere"))


def test_a_secondary_capture_that_says_nothing_may_show_a_name(tmp_path):
    problems = Problems()
    read_series(REAL / "SC_rgb_rle.dcm", ALL, problems)
    assert "SC_rgb_rle.dcm: field BurnedInAnnotation: may show text" in str(problems.warnings[0])
