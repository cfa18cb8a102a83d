"""Damaged scans, each refused in one line that names nobody."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import UID, HTJ2KLossless, JPEGLSLossless, RLELossless

from foundation.data.image_files import read_image
from foundation.data.problems import DataError, Problems
from foundation.modalities.radiology.slices import read_slices
from tests.foundation.modalities.radiology_scans import ALL, REAL, REAL_NIFTI, header, report, volume
from tests.foundation.scan_files import SECRETS, body, dicom, save, write_nifti, write_series


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


def two(folder: Path, **tags: object) -> Path:
    write_series(folder / "scan" / "a")
    write_series(folder / "scan" / "b", **tags)
    return folder / "scan"


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
