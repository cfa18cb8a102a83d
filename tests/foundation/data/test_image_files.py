"""Pictures as people see them, with exact values: depth, transparency, pages and orientation, in files and requests."""

import base64
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foundation.data.image_files import read_image
from foundation.data.problems import DataError, Problems
from foundation.errors import UserError
from foundation.modalities.image_request import ImagesForm

LEVELS = np.array([[0, 128, 129, 257], [4096, 32768, 65534, 65535]], np.uint16)
EIGHT = np.array([[0, 0, 1, 1], [16, 128, 255, 255]], np.uint8)  # rounded to the nearest of 255ths
RED = np.array([[[200, 10, 30]]], np.uint8).repeat(4, 0).repeat(6, 1)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def sixteen_png(folder: Path) -> Path:
    return saved(folder / "a.png", Image.fromarray(LEVELS))


def sixteen_tiff(folder: Path, **options: object) -> Path:
    tifffile.imwrite(folder / "a.tif", LEVELS, **options)
    return folder / "a.tif"


SIXTEEN = {
    "png": (sixteen_png, EIGHT),
    "tiff": (lambda folder: sixteen_tiff(folder), EIGHT),
    "tiff of the other byte order": (lambda folder: sixteen_tiff(folder, byteorder=">"), EIGHT),
    "tiff in which white is zero": (lambda folder: sixteen_tiff(folder, photometric="miniswhite"), 255 - EIGHT),
}


@pytest.mark.parametrize("name", SIXTEEN)
def test_sixteen_bits_are_scaled_by_their_depth(tmp_path, name):
    write, expected = SIXTEEN[name]
    problems = Problems()
    shown = read_image(write(tmp_path), problems)
    np.testing.assert_array_equal(shown, np.repeat(expected[..., None], 3, axis=2))
    assert problems.listed == []


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 60000, 64, dtype=np.uint16)[None].repeat(64, 0)
    shown = read_image(saved(tmp_path / "a.png", Image.fromarray(ramp)))
    assert (np.diff(shown[0, :, 0].astype(int)) >= 0).all()
    assert len(np.unique(shown)) > 50


def test_twelve_bits_in_sixteen_are_told(tmp_path):
    problems = Problems()
    shown = read_image(saved(tmp_path / "a.png", Image.fromarray(LEVELS // 16)), problems)
    assert shown.max() == 16
    assert "a.png: field depth: grey levels up to 4095 of 65535: it becomes dark" in str(problems.warnings[0])


def half_clear(channels: int) -> np.ndarray:
    """Red or grey, opaque in the left half."""
    colour = RED if channels == 4 else np.full((4, 6, 1), 70, np.uint8)
    alpha = np.where(np.arange(6) < 3, 255, 0).astype(np.uint8) * np.ones((4, 1), np.uint8)
    return np.dstack([colour, alpha])


def palette(path: Path) -> Path:
    image = Image.new("P", (6, 4))
    image.putpalette([200, 10, 30, 0, 0, 0])
    image.putdata([0, 0, 0, 1, 1, 1] * 4)
    return saved(path, image, transparency=1)


def key_colour(path: Path) -> Path:
    image = np.where(np.arange(6)[None, :, None] < 3, RED, 0).astype(np.uint8)
    return saved(path, Image.fromarray(image), transparency=(0, 0, 0))


def sixteen_rgba(path: Path) -> Path:
    path.write_bytes(imagecodecs.png_encode(half_clear(4).astype(np.uint16) * 257))
    return path


CLEAR = {
    "rgba": (lambda path: saved(path, Image.fromarray(half_clear(4))), [200, 10, 30]),
    "grey with alpha": (lambda path: saved(path, Image.fromarray(half_clear(2), "LA")), [70, 70, 70]),
    "palette": (palette, [200, 10, 30]),
    "one colour stands for clear": (key_colour, [200, 10, 30]),
    "sixteen bits": (sixteen_rgba, [200, 10, 30]),
}


@pytest.mark.parametrize("name", CLEAR)
def test_what_is_transparent_becomes_white(tmp_path, name):
    write, colour = CLEAR[name]
    shown = read_image(write(tmp_path / "a.png"))
    assert (shown[:, :3] == colour).all()
    assert (shown[:, 3:] == 255).all()


def test_what_is_half_transparent_is_laid_on_white(tmp_path):
    image = np.full((2, 2, 4), (0, 100, 200, 51), np.uint8)  # a fifth opaque
    shown = read_image(saved(tmp_path / "a.png", Image.fromarray(image)))
    assert (shown == [204, 224, 244]).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_the_orientation_that_a_camera_notes_is_applied(tmp_path, suffix):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, 24:] = 255  # white on the right
    for orientation, turn in {3: 2, 6: 1, 8: 3}.items():  # stored so, to be turned clockwise by 180, 90 and 270
        image = Image.fromarray(np.rot90(upright, turn))
        exif = image.getexif()
        exif[0x0112] = orientation
        quality = {"quality": 100} if suffix == "jpg" else {}
        path = saved(tmp_path / f"{orientation}.{suffix}", image, exif=exif, **quality)
        np.testing.assert_allclose(read_image(path), upright, atol=3)


def pages(path: Path) -> Path:
    first, second = (Image.fromarray(RED + seed) for seed in (0, 1))
    return saved(path, first, save_all=True, append_images=[second])


def pyramid(path: Path) -> Path:
    with tifffile.TiffWriter(path) as file:
        file.write(RED, photometric="rgb")
        file.write(RED[::2, ::2], photometric="rgb", subfiletype=1)
    return path


@pytest.mark.parametrize(("write", "name"), [(pages, "a.tif"), (pages, "a.png"), (pyramid, "b.tif")])
def test_several_pages_are_refused(tmp_path, write, name):
    with pytest.raises(DataError, match=rf"{name}: field pages: 2 pages; save one image a file"):
        read_image(write(tmp_path / name))


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32, np.float32])
def test_numbers_without_black_and_white_are_refused(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", LEVELS.astype(kind))
    with pytest.raises(DataError, match=r"a\.tif: field depth: numbers whose black and white it does not say"):
        read_image(tmp_path / "a.tif")


def requested(path: Path, warnings: list[str] | None = None) -> np.ndarray:
    content = base64.b64encode(path.read_bytes()).decode()
    found = ImagesForm(size=32).read([content], "radiology", [] if warnings is None else warnings)
    return np.asarray(found[0])


@pytest.mark.parametrize("name", ["rgba", "palette", "sixteen bits"])
def test_a_request_is_read_as_packing_reads(tmp_path, name):
    path = CLEAR[name][0](tmp_path / "a.png")
    np.testing.assert_array_equal(requested(path), read_image(path))


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=9))
def test_sixteen_bits_of_a_request_are_those_of_a_file(tmp_path_factory, levels):
    path = saved(tmp_path_factory.mktemp("request") / "a.png", Image.fromarray(np.array([levels], np.uint16)))
    shown = requested(path)
    np.testing.assert_array_equal(shown, read_image(path))
    np.testing.assert_array_equal(shown[0, :, 0], np.round(np.array(levels) / 257))


def test_a_request_is_told_of_twelve_bits_and_refused_pages_by_its_field(tmp_path):
    warnings: list[str] = []
    requested(saved(tmp_path / "a.png", Image.fromarray(LEVELS // 16)), warnings)
    assert warnings[0].startswith("radiology[0]: field depth: grey levels up to 4095 of 65535")
    with pytest.raises(UserError, match=r"radiology\[0\]: field pages: 2 pages"):
        requested(pages(tmp_path / "b.png"))


def test_images_of_a_request_keep_their_sizes(tmp_path):
    small, large = (saved(tmp_path / f"{n}.png", Image.fromarray(RED[:n])) for n in (2, 4))
    contents = [base64.b64encode(path.read_bytes()).decode() for path in (small, large)]
    found = ImagesForm(size=32).read(contents, "pathology", [])
    assert [image.shape for image in found] == [(2, 6, 3), (4, 6, 3)]
