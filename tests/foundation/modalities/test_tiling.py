"""Tiles of slides: where they lie, what they never show, and that they survive a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openslide
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foundation.data.problems import DataError, Problems
from foundation.modalities.pathology.slides import Slide
from foundation.modalities.pathology.tile_survey import TileSurvey, draw
from foundation.modalities.pathology.tiling import TileSettings, read_tiles, tile_slide, tile_slides
from tests.foundation.slide_files import REAL, SETTINGS, cut, halved, tissue, write_dicom, write_tiff, written


def test_tiles_lie_where_their_table_says(tmp_path, pyramid, picture):
    tile_slide(pyramid, tmp_path / "out", TileSettings(1.0, 64, jpeg_quality=None))
    table = pq.read_table(tmp_path / "out" / "tiles.parquet").to_pandas()
    facts = json.loads((tmp_path / "out" / "slide.json").read_text())
    tiles = read_tiles(tmp_path / "out")
    small = halved(picture)
    for tile, (x, y) in zip(tiles, table[["x", "y"]].to_numpy(), strict=True):
        np.testing.assert_array_equal(tile, small[y // 2 : y // 2 + 64, x // 2 : x // 2 + 64])
    assert set(table["x"] % 128) == set(table["y"] % 128) == {0}
    assert table["tissue"].between(0.3, 1).all()
    assert (facts["tiles"], facts["tiles_with_tissue"], facts["mpp"]) == (len(tiles), len(tiles), pytest.approx(1.0))
    with Slide(pyramid) as slide:
        survey = TileSurvey.of(slide, 128.0)
    assert len(survey.tissue) == 8 * 6
    assert {tuple(corner) for corner in survey.corners[survey.tissue >= 0.3]} == set(
        map(tuple, table[["x", "y"]].to_numpy())
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "slide.json",
        "thumbnail.jpg",
        "tiles.parquet",
    ]


def test_the_thumbnail_shows_the_kept_tiles(tmp_path, pyramid):
    for name, tissue_share in (("some", 0.9), ("more", 0.05)):
        tile_slide(pyramid, tmp_path / name, TileSettings(1.0, 64, tissue=tissue_share))
    green = {
        name: (np.asarray(Image.open(tmp_path / name / "thumbnail.jpg")).astype(int) @ [-1, 2, -1] > 60).sum()
        for name in ("some", "more")
    }
    assert 0 < green["some"] < green["more"]


def test_jpeg_keeps_what_is_seen(tmp_path, pyramid):
    tile_slide(pyramid, tmp_path / "lossless", TileSettings(1.0, 64, jpeg_quality=None))
    tile_slide(pyramid, tmp_path / "jpeg", TileSettings(1.0, 64, jpeg_quality=90))
    lossless, jpeg = (read_tiles(tmp_path / name).astype(int) for name in ("lossless", "jpeg"))
    assert np.abs(lossless - jpeg).mean() < 3
    sizes = [(tmp_path / name / "tiles.parquet").stat().st_size for name in ("lossless", "jpeg")]
    assert sizes[1] < sizes[0] / 2


@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 2**31), st.text(max_size=8))
@settings(deadline=None)
def test_a_draw_is_part_of_what_there_is_in_its_order(count, most, seed, name):
    tiles = np.arange(0, 3 * count, 3)
    kept = draw(tiles, most, seed, name)
    assert len(kept) == min(count, most)
    assert set(kept) <= set(tiles)
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(kept, draw(tiles, most, seed, name))


def test_slides_of_one_size_are_drawn_at_different_places():
    tiles = np.arange(1000)
    assert set(draw(tiles, 20, 0, "a.svs")) != set(draw(tiles, 20, 0, "b.svs"))


@pytest.mark.parametrize("secret", ["label", "macro"])
def test_label_and_macro_are_never_opened_nor_written(tmp_path, monkeypatch, secret):
    hidden = np.asarray(openslide.OpenSlide(REAL).associated_images[secret].convert("RGB"))

    def opened(*_: object) -> None:
        raise AssertionError("an associated picture was opened")

    monkeypatch.setattr(openslide.lowlevel, "read_associated_image", opened)
    with pytest.raises(AssertionError):
        openslide.OpenSlide(REAL).associated_images[secret]
    tile_slide(REAL, tmp_path / "out", TileSettings(0.5, 128))
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    for telling in (b"b414003d", b"12/29/09", b"CPAPERIOCS", b"1004486"):  # of the file's own properties
        assert telling not in content
    shown = [np.asarray(Image.open(tmp_path / "out" / "thumbnail.jpg")), *read_tiles(tmp_path / "out")]
    assert all(picture.shape[:2] != hidden.shape[:2] for picture in shown)


def test_a_dicom_slides_patient_is_never_written(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm",
        tissue(512, 512),
        PatientName="DOE^SECRETIA",
        PatientID="MRN4711",
        InstitutionName="St Elsewhere",
    )
    tile_slide(path, tmp_path / "out", TileSettings(0.5, 64))
    content = b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert not any(secret in content for secret in (b"SECRETIA", b"MRN4711", b"Elsewhere"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SCRIPT = """
import sys
from pathlib import Path
from foundation.data.problems import Problems
from foundation.modalities.pathology.tiling import TileSettings, tile_slides

if __name__ == "__main__":
    slides = [(path.stem, path) for path in sorted(Path(sys.argv[1]).glob("*.tif"))]
    problems = Problems()
    tile_slides(slides, Path(sys.argv[2]), TileSettings(0.5, 64, max_tiles=60), problems, workers=2)
    sys.exit(len(problems.listed))
"""


def test_killed_and_restarted_equals_uninterrupted(tmp_path):
    (tmp_path / "slides").mkdir()
    for number in range(6):
        write_tiff(tmp_path / "slides" / f"{number}.tif", tissue(1024, 1024, number))
    script = written(tmp_path, "run.py", SCRIPT.encode())
    command = [sys.executable, str(script), str(tmp_path / "slides"), str(tmp_path / "killed")]
    cache = tmp_path / "killed"
    done: dict[Path, int] = {}
    for finished in (0, 2):  # killed while the first slides are cut, and again half-way
        process = subprocess.Popen(command)
        while not (list(cache.glob(".*.writing")) and len(list(cache.glob("[0-9]*"))) >= finished):
            assert process.poll() is None, "nothing left to kill"
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done = {folder: folder.stat().st_mtime_ns for folder in cache.glob("[0-9]*")}
    assert subprocess.run(command, check=False).returncode == 0
    assert done
    assert {folder: folder.stat().st_mtime_ns for folder in done} == done, "what was done is not done again"
    slides = [(path.stem, path) for path in sorted((tmp_path / "slides").glob("*.tif"))]
    problems = Problems()
    tiled = tile_slides(slides, tmp_path / "whole", TileSettings(0.5, 64, max_tiles=60), problems, workers=1)
    assert not problems.listed
    assert [slide.patient for slide in tiled] == [patient for patient, _ in slides]
    assert {len(read_tiles(slide.folder)) for slide in tiled} == {60}
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_bad_slides_are_named_and_the_others_cut(tmp_path, pyramid):
    slides = [("p1", written(tmp_path, "bad.svs", b"x")), ("p2", pyramid), ("p3", tmp_path / "none.svs")]
    problems = Problems()
    tiled = tile_slides(slides, tmp_path / "cache", SETTINGS, problems)
    assert [slide.patient for slide in tiled] == ["p2"]
    assert {Path(problem.file).name for problem in problems.errors} == {"bad.svs", "none.svs"}
    before = tiled[0].folder.stat().st_mtime_ns
    assert tile_slides(slides[1:2], tmp_path / "cache", SETTINGS, problems)[0].folder.stat().st_mtime_ns == before
    other = tile_slides(slides[1:2], tmp_path / "cache", TileSettings(1.0, 64, seed=1), problems)
    assert other[0].folder != tiled[0].folder, "other settings, other tiles"
    pyramid.touch()
    assert tile_slides(slides[1:2], tmp_path / "cache", SETTINGS, problems)[0].folder != tiled[0].folder


def test_a_slide_that_crashes_its_reader_is_named_and_the_others_are_cut(tmp_path, pyramid):
    path = write_dicom(tmp_path / "crash.dcm", tissue(512, 512))
    content = bytearray(path.read_bytes())
    table = content.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 20  # where the first frame begins
    content[table : table + 4] = b"\0\0\x51\0"
    path.write_bytes(content)
    problems = Problems()
    tiled = tile_slides([("p1", path), ("p2", pyramid)], tmp_path / "cache", SETTINGS, problems, workers=2)
    assert [slide.patient for slide in tiled] == ["p2"]
    assert len(problems.errors) == 1
    assert str(problems.errors[0]).startswith(f"{path}: reading it ended the process: damaged")
    assert [folder.name for folder in (tmp_path / "cache").iterdir()] == [tiled[0].folder.name]


def test_damaged_tiles_are_refused(tmp_path, pyramid):
    tile_slide(pyramid, tmp_path / "out", SETTINGS)
    cut(tmp_path / "out" / "tiles.parquet", 0.6)
    with pytest.raises(DataError, match=r"tiles\.parquet: damaged tiles .*remove out and tile the slide again"):
        read_tiles(tmp_path / "out")
