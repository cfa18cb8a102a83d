"""Slides: resolution, resampling, tissue, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from foundation.data.problems import DataError
from foundation.modalities.pathology.slides import Slide
from foundation.modalities.pathology.tiling import TileSettings, tile_slide
from foundation.modalities.pathology.tissue import tissue_mask
from tests.foundation.slide_files import (
    EOSIN,
    GLASS,
    REAL,
    SETTINGS,
    cut,
    halved,
    tissue,
    write_dicom,
    write_tiff,
    written,
)


def spoilt(path: Path, start: float, end: float) -> Path:
    content = bytearray(path.read_bytes())
    first, last = int(len(content) * start), int(len(content) * end)
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    return path


def copied(folder: Path) -> Path:
    (folder / "real.svs").write_bytes(REAL.read_bytes())
    return folder / "real.svs"


def flat(folder: Path, **options: object) -> Path:
    tifffile.imwrite(folder / "a.tif", tissue(256, 256), photometric="rgb", **options)
    return folder / "a.tif"


def glass(folder: Path, colour: tuple[int, int, int] = GLASS) -> Path:
    noise = np.random.default_rng(0).normal(0, 1.5, (512, 512, 3))
    return write_tiff(folder / "a.tif", np.clip(colour + noise, 0, 255).astype(np.uint8))


def oblong(folder: Path) -> Path:
    options = {"resolution": (20000, 10000), "resolutionunit": "CENTIMETER"}
    return write_tiff(folder / "a.tif", tissue(256, 256), None, **options)


def declared(mpp: float) -> Callable[[Path], tuple[Path, TileSettings]]:
    return lambda folder: (
        write_tiff(folder / "a.tif", tissue(512, 512), None),
        TileSettings(1.0, 64, slide_mpp=mpp),
    )


def with_settings(**changes: object) -> Callable[[Path], tuple[Path, TileSettings]]:
    own = TileSettings(**{"mpp": 1.0, "size": 64, **changes})
    return lambda folder: (write_tiff(folder / "a.tif", tissue(512, 512)), own)


# A builder of the damaged slide (and, where they matter, the settings), and what the line says.
CORRUPT: dict[str, tuple[Callable[[Path], Path | tuple[Path, TileSettings]], str]] = {
    "missing": (lambda folder: folder / "none.svs", r"none\.svs: no such file"),
    "a folder": (lambda folder: folder, r": no such file"),
    "empty": (lambda folder: written(folder, "a.svs", b""), r"a\.svs: empty file"),
    "text": (lambda folder: written(folder, "a.svs", b"see other disk\n" * 40), r"a\.svs: no slide that OpenSlide"),
    "a JPEG named .svs": (
        lambda folder: (Image.new("RGB", (64, 64)).save(folder / "a.svs", "JPEG"), folder / "a.svs")[1],
        r"a\.svs: no slide that OpenSlide reads.*vips tiffsave",
    ),
    "TIFF without tiles": (flat, r"a\.tif: no slide that OpenSlide reads.*--tile --pyramid"),
    "SVS cut in half": (lambda folder: cut(copied(folder), 0.5), r"real\.svs: no slide that OpenSlide reads, or cut"),
    "SVS without its last kilobytes": (lambda folder: cut(copied(folder), 0.99), r"real\.svs: no slide .* cut off"),
    "SVS with a hole": (lambda folder: spoilt(copied(folder), 0.2, 0.4), r"real\.svs: damaged near pixel \(0, "),
    "TIFF cut in half": (
        lambda folder: cut(write_tiff(folder / "a.tif", tissue(512, 512)), 0.5),
        r"a\.tif: no slide that OpenSlide reads, or cut off",
    ),
    "TIFF with a hole": (
        lambda folder: spoilt(write_tiff(folder / "a.tif", tissue(512, 512)), 0.3, 0.9),
        r"a\.tif: damaged near pixel \(",
    ),
    "DICOM cut in half": (
        lambda folder: cut(write_dicom(folder / "a.dcm", tissue(512, 512)), 0.5),
        r"a\.dcm: (damaged|no slide)",
    ),
    "DICOM with text in the pixels": (
        lambda folder: write_dicom(folder / "a.dcm", tissue(128, 128), BurnedInAnnotation="YES"),
        r"a\.dcm: field BurnedInAnnotation: text is burned into the pixels",
    ),
    "nobody says the resolution": (
        lambda folder: write_tiff(folder / "a.tif", tissue(256, 256), None),
        r"a\.tif: field mpp: the slide does not say; declare slide_mpp",
    ),
    "a screen's resolution": (
        lambda folder: write_tiff(folder / "a.tif", tissue(256, 256), 25400 / 72),
        r"a\.tif: field mpp: the slide says 352\.778 microns per pixel, which no scanner has; declare",
    ),
    "a resolution of zero declared": (declared(0.0), r"a\.tif: field mpp: declared outside 0\.05 to 50 \(0\.0\)"),
    "a magnification declared": (declared(400.0), r"a\.tif: field mpp: declared outside 0\.05 to 50 \(400\.0\)"),
    "oblong pixels": (oblong, r"a\.tif: field mpp: pixels are not square \(0\.5 by 1\)"),
    "scanned too coarsely": (
        with_settings(mpp=0.25),
        r"a\.tif: field mpp: scanned at 0\.5 microns per pixel, coarser than the 0\.25 wanted",
    ),
    "smaller than a tile": (
        with_settings(size=300),
        r"a\.tif: field dimensions: smaller \(512 by 512 pixels\) than one tile \(600 pixels\)",
    ),
    "bare glass": (glass, r"a\.tif: field tissue: no tile with 30% tissue; the fullest has 0%"),
    "nothing but black": (lambda folder: glass(folder, (3, 3, 3)), r"a\.tif: field tissue: no tile with 30% tissue"),
    "too little tissue": (
        lambda folder: (write_tiff(folder / "a.tif", tissue(512, 512)), TileSettings(1.0, 128, 0.9)),
        r"a\.tif: field tissue: no tile with 90% tissue; the fullest has 3\d%",
    ),
}


@pytest.mark.parametrize(("build", "line"), CORRUPT.values(), ids=CORRUPT)
def test_a_damaged_slide_is_one_line_and_nothing_written(tmp_path, build, line):
    (tmp_path / "in").mkdir()
    (tmp_path / "cache").mkdir()
    built = build(tmp_path / "in")
    path, own = built if isinstance(built, tuple) else (built, SETTINGS)
    with pytest.raises(DataError, match=line) as caught:
        tile_slide(path, tmp_path / "cache" / "out", own)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert not list((tmp_path / "cache").iterdir())


def test_a_real_slide_says_its_size_and_resolution():
    with Slide(REAL, declared_mpp=1.0) as slide:
        assert slide.dimensions == (2220, 2967)
        assert slide.mpp == pytest.approx(0.499), "its own goes before the declared one"
        assert slide.unread == ["label", "macro", "thumbnail"]
        own = np.asarray(openslide.OpenSlide(REAL).read_region((700, 900), 0, (50, 40)).convert("RGB"))
        np.testing.assert_array_equal(slide.read(700, 900, (50, 40), 0.5), own)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 2.0])
def test_a_tiff_says_its_resolution_and_a_silent_one_is_told(tmp_path, picture, mpp):
    with Slide(write_tiff(tmp_path / "a.tif", picture, mpp)) as slide:
        assert slide.mpp == pytest.approx(mpp)
    with Slide(write_tiff(tmp_path / "b.tif", picture, None), mpp) as slide:
        assert slide.mpp == mpp


def test_a_dicom_slide_is_read(tmp_path, picture):
    with Slide(write_dicom(tmp_path / "a.dcm", picture[:256, :320])) as slide:
        assert (slide.dimensions, slide.mpp) == ((320, 256), pytest.approx(0.5))
        read = slide.read(32, 16, (100, 90), 0.5)
    assert np.abs(read.astype(int) - picture[16:106, 32:132]).mean() < 4, "JPEG apart"


def test_a_level_is_taken_as_it_is(pyramid, picture):
    with Slide(pyramid) as slide:
        np.testing.assert_array_equal(slide.read(64, 32, (100, 90), 0.5), picture[32:122, 64:164])
        np.testing.assert_array_equal(slide.read(64, 32, (100, 90), 1.0), halved(picture)[16:106, 32:132])
        assert (slide.scale(1.005), slide.scale(1.5)) == (2.0, 3.0)


def test_resampling_shrinks_without_shift_or_aliasing(tmp_path):
    y, x = np.mgrid[:960, :960].astype(np.float32)
    smooth = np.stack([x / 4, y / 4, 128 + 100 * np.sin(x / 40)], 2).round().astype(np.uint8)
    smooth[::2, ::2] ^= 1  # the finest detail there is
    path = write_tiff(tmp_path / "a.tif", smooth, levels=3)
    with Slide(path) as slide:
        for mpp in (0.75, 1.4, 3.0):
            scale = slide.scale(mpp)
            read = slide.read(240, 120, (96, 64), mpp).astype(float)
            rows, columns = (start + (np.arange(count) + 0.5) * scale - 0.5 for start, count in ((120, 64), (240, 96)))
            truth = np.stack(
                [
                    np.broadcast_to(columns / 4, (64, 96)),
                    np.broadcast_to(rows[:, None] / 4, (64, 96)),
                    np.broadcast_to(128 + 100 * np.sin(columns / 40), (64, 96)),
                ],
                2,
            )
            assert np.abs(read - truth).max() < 2.5, mpp


def test_neighbouring_regions_fit_without_a_seam(pyramid):
    with Slide(pyramid) as slide:
        whole = slide.read(96, 120, (128, 64), 1.5).astype(int)  # three pixels of the slide each
        halves = [slide.read(96 + 3 * 64 * part, 120, (64, 64), 1.5) for part in (0, 1)]
    assert np.abs(whole - np.concatenate(halves, 1)).max() <= 1


@pytest.mark.parametrize("mpp", [0.5, 1.5])
def test_beyond_the_scan_is_white(pyramid, mpp):
    with Slide(pyramid) as slide:
        read = slide.read(1000, 744, (100, 100), mpp)
    assert (read[-20:, -20:] == 255).all()


def test_a_thumbnail_in_blocks_is_the_thumbnail_in_one(pyramid, monkeypatch):
    with Slide(pyramid) as slide:
        whole = slide.thumbnail(4.0)
        monkeypatch.setattr("foundation.modalities.pathology.slides._BLOCK", 160)
        blocks = slide.thumbnail(4.0)
    assert whole.shape == (96, 128, 3)
    assert np.abs(whole.astype(int) - blocks).max() <= 1


def test_tissue_is_what_is_stained(picture):
    mask = tissue_mask(picture[::8, ::8], 4.0)
    y, x = np.mgrid[:96, :128]
    truth = ((y / 96 - 0.5) / 0.33) ** 2 + ((x / 128 - 0.5) / 0.33) ** 2 < 1
    assert (mask & truth).sum() / (mask | truth).sum() > 0.95


@pytest.mark.parametrize(("colour", "share"), [(EOSIN, 1.0), (GLASS, 0.0), ((0, 0, 0), 0.0), ((255, 255, 255), 0.0)])
def test_an_even_slide_is_all_tissue_or_none(colour, share):
    assert tissue_mask(np.full((64, 64, 3), colour, np.uint8), 8.0).mean() == share


def test_dust_is_no_tissue():
    picture = np.full((200, 200, 3), GLASS, np.uint8)
    picture[50:58, 50:58] = EOSIN
    assert not tissue_mask(picture, 8.0).any()
