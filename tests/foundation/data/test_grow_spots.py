"""A cohort with spots of spatial transcriptomics that grows: expression stays with its tiles, and leaves with them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.data.cohort import Cohort
from foundation.data.declaration import read_declaration
from foundation.data.grow import grow
from foundation.data.pack import pack
from foundation.modalities.pathology.spot_files import files_beside
from foundation.modalities.pathology.spot_source import SpotSettings
from foundation.modalities.pathology.storage import SpottedImages
from tests.foundation.visium_files import write_cohort, write_visium


def listed(root: Path, hospital: str, names: list[str]) -> None:
    (root / hospital / "patients.csv").write_text("patient_id\n" + "".join(f"{name}\n" for name in names))


def one_more(root: Path) -> None:
    write_visium(root / "a/visium/a00/outs", 7)
    listed(root, "a", ["a0", "a00", "a1"])


def one_less(root: Path) -> None:
    shutil.rmtree(root / "a/visium/a0")
    listed(root, "a", ["a1"])


def one_without_pathology(root: Path) -> None:
    listed(root, "a", ["a", "a0", "a1"])


def another_section(root: Path) -> None:
    shutil.rmtree(root / "a/visium/a0")
    write_visium(root / "a/visium/a0/outs", 8)


def nobody_with_spots(root: Path) -> None:
    shutil.rmtree(root / "a/visium/a0")
    shutil.rmtree(root / "a/visium/a1")


def another_picture(root: Path) -> None:
    path = root / "a/visium/a0/outs/spatial/tissue_hires_image.png"
    Image.open(path).rotate(180).save(path)


CHANGES = [another_picture, one_more, one_less, one_without_pathology, another_section, nobody_with_spots]


@pytest.mark.parametrize(
    ("listed", "beside"),
    [
        ("v/matrix.h5", ["v/spatial/tissue_positions.csv", "v/spatial/tissue_hires_image.png"]),
        ("v/m/matrix.mtx.gz", ["v/m/barcodes.tsv.gz", "v/m/features.tsv.gz", "v/spatial/tissue_positions.csv"]),
        ("a.counts.csv", ["a-section.png", "a-places.csv"]),
        ("a.h5ad", ["a-section.png"]),
    ],
)
def test_all_files_of_a_section_are_compared(listed: str, beside: list[str], tmp_path: Path) -> None:
    for name in (listed, *beside, "b-section.png", "b-places.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    settings = SpotSettings(picture="{stem}-section.png", positions="{stem}-places.csv")
    files = {path.resolve() for path in files_beside(tmp_path / listed, settings)}
    assert files == {(tmp_path / name).resolve() for name in beside}


def test_a_picture_in_another_folder_of_the_hospital_is_compared_too(tmp_path: Path) -> None:
    for name in ("st/a.h5ad", "wsis/a.tif", "wsis/b.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    files = files_beside(tmp_path / "st/a.h5ad", SpotSettings(picture="../wsis/{stem}.tif"))
    assert [path.resolve() for path in files] == [(tmp_path / "wsis/a.tif").resolve()]


@pytest.mark.parametrize("change", CHANGES)
def test_spots_of_a_grown_cohort_are_those_of_its_folders_prepared_anew(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    root, grown, anew = write_cohort(tmp_path / "raw", 2, max_tiles=20), tmp_path / "grown", tmp_path / "anew"
    pack(root, grown)
    change(root)
    assert grow(root, grown, read_declaration(root)) is not None
    pack(root, anew)
    spots = {path.relative_to(anew): path.read_bytes() for path in anew.rglob("*.npy")}
    assert spots == {path.relative_to(grown): path.read_bytes() for path in grown.rglob("*.npy")}
    left, right = Cohort(anew), Cohort(grown)
    for patient in left.patients.index[left.patients["pathology"]]:
        one, other = (cohort.sample(patient)["pathology"] for cohort in (left, right))
        assert isinstance(one, SpottedImages) and isinstance(other, SpottedImages)
        np.testing.assert_array_equal(one.spots, other.spots)
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
