"""Images of all hospitals: each damaged file named, pictures that patients share found, and no others."""

import io
import shutil
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.progress import Progress

from foundation.data import image_checks
from foundation.data.dictionary import DataDictionary
from foundation.data.image_pairs import Prints, shared_pictures
from foundation.data.preparation import preparations
from foundation.data.problems import Problems
from foundation.data.site import Site
from tests.foundation.cohort_files import cut, picture
from tests.foundation.scan_files import SECRETS, body, write_nifti, write_series
from tests.foundation.slide_files import REAL, tissue, write_tiff

RNG = np.random.default_rng(0)


def hospital(name: str, files: list[tuple[str, Path, str]], modality: str = "pathology", **source: object) -> Site:
    """One with a row a file: patient, path and kind."""
    patients = pd.DataFrame(index=pd.Index(sorted({patient for patient, _, _ in files}), name="patient_id"))
    index = pd.Index([patient for patient, _, _ in files], name="patient_id")
    listed = pd.DataFrame({"path": [str(path) for _, path, _ in files], "kind": [kind for *_, kind in files]}, index)
    sources = {modality: preparations()[modality].source(files="*", **source)}
    return Site(name, Path(name), patients, {modality: listed}, sources, {modality: Path(f"{name}/{modality}.csv")})


def checked(*sites: Site) -> list[str]:
    """One line a problem, errors marked."""
    problems = Problems()
    with Progress(disable=True) as bars:
        for modality in ("pathology", "radiology"):
            look = partial(preparations()[modality].look, dictionary=DataDictionary())
            image_checks.check(modality, look, list(sites), problems, bars)
    return [f"{problem.severity}: {problem}" for problem in problems.listed]


def saved(path: Path, image: np.ndarray, **options: object) -> Path:
    Image.fromarray(image).save(path, **options)
    return path


def test_pictures_of_different_patients_are_not_alike(tmp_path):
    files = [(f"P{seed}", saved(tmp_path / f"{seed}.png", picture(seed)), "images") for seed in range(12)]
    assert checked(hospital("north", files)) == []


def test_a_copy_under_another_patient_is_an_error_and_one_saved_anew_a_warning(tmp_path):
    first = saved(tmp_path / "a.png", picture(1, 256))
    shutil.copy(first, tmp_path / "b.png")
    smaller = Image.fromarray(picture(1, 256)).resize((180, 180))
    smaller.save(tmp_path / "c.jpg", quality=75)
    north = hospital("north", [("A", first, "images"), ("B", tmp_path / "b.png", "images")])
    south = hospital("south", [("C", tmp_path / "c.jpg", "images")])
    copy, near = checked(north, south)
    assert copy.startswith(f"error: {tmp_path}/b.png: field file: patient B: the same file as patient A's a.png; ")
    assert near.startswith(
        f"warning: {tmp_path}/c.jpg: field file: patient C: almost the picture of patient A, a.png at"
    )
    assert "a.png at north; look at both" in near


def test_a_patients_own_copy_is_a_warning_and_own_near_copies_are_nothing(tmp_path):
    first = saved(tmp_path / "a.png", picture(1))
    shutil.copy(first, tmp_path / "b.png")
    near = saved(tmp_path / "c.jpg", picture(1), quality=85)
    (line,) = checked(hospital("north", [("A", path, "images") for path in (first, tmp_path / "b.png", near)]))
    assert line.startswith(
        f"warning: {tmp_path}/b.png: field file: the same file as a.png, of the same patient A; keep"
    )


def test_two_patients_who_share_many_pictures_are_one_line(tmp_path):
    files = []
    for seed in range(4):
        files += [("A", saved(tmp_path / f"a{seed}.png", picture(seed)), "images")]
        files += [("B", saved(tmp_path / f"b{seed}.jpg", picture(seed), quality=90), "images")]
    (line,) = checked(hospital("north", files))
    assert line.count("almost the picture of patient A, a0.png, and 3 files more") == 1
    assert line.count("3 files more") == 1


def test_images_of_several_sizes_at_one_patient_are_fine(tmp_path):
    sizes = [(64, "A"), (96, "A"), (96, "B")]
    files = [
        (owner, saved(tmp_path / f"{place}.png", picture(place, size)), "images")
        for place, (size, owner) in enumerate(sizes)
    ]
    assert checked(hospital("north", files)) == []


def test_features_of_another_extractor_are_an_error(tmp_path):
    files = []
    for place, width in enumerate((16, 16, 32)):
        with h5py.File(tmp_path / f"{place}.h5", "w") as file:
            file["features"] = RNG.normal(size=(4, width)).astype(np.float32)
            file["coords"] = np.arange(8).reshape(4, 2)
        files.append((f"P{place}", tmp_path / f"{place}.h5", "features"))
    (line,) = checked(hospital("north", files))
    assert "2.h5: field features: 32 values a tile, other files have 16 values a tile; use one" in line


def test_scans_alike_in_most_slices_are_found_and_what_a_series_carries_is_named_once(tmp_path):
    volume = RNG.integers(-200, 300, (6, 8, 8), dtype=np.int16).repeat(8, 1).repeat(8, 2)
    write_series(tmp_path / "A", volume)
    write_nifti(tmp_path / "B.nii.gz", volume)
    write_series(tmp_path / "C", volume[::-1][:, ::-1])
    files = [("A", tmp_path / "A", "dicom"), ("B", tmp_path / "B.nii.gz", "nifti"), ("C", tmp_path / "C", "dicom")]
    carried, near = checked(hospital("north", files, "radiology", window=(40, 400)))
    assert carried.startswith("warning: north/radiology.csv: field AccessionNumber, ")
    assert "2 of kind dicom carry tags that can show who the patient is; nothing to do: packing drops them" in carried
    assert not any(secret in carried for secret in SECRETS.values())
    assert "patient B: almost the picture of patient A, A (6 of 6 slices)" in near


def test_slides_are_cut_as_packing_cuts_them_and_their_label_pictures_named(tmp_path):
    copy = shutil.copy(REAL, tmp_path / "other.svs")
    made = write_tiff(tmp_path / "made.tif", tissue(700, 700))
    silent = write_tiff(tmp_path / "silent.tif", tissue(700, 700, 2), mpp=None)
    files = [("A", REAL, "slides"), ("B", Path(copy), "slides"), ("C", made, "slides"), ("D", silent, "slides")]
    unsaid, carried, same = checked(hospital("north", files))
    assert unsaid.startswith(f"error: {silent}: field mpp: the slide does not say; declare slide_mpp")
    assert "2 of kind slides carry pictures inside that can show who the patient is" in carried
    assert "patient B: the same file as patient A's cmu_small_region.svs" in same
    assert checked(hospital("north", files[2:], slide_mpp=0.5)) == []


def test_a_slide_listed_by_two_patients_is_named_for_the_second(tmp_path):
    made = write_tiff(tmp_path / "made.tif", tissue(700, 700))
    (line,) = checked(hospital("north", [("A", made, "slides"), ("B", made, "slides")]))
    assert "patient B: the same file as patient A's made.tif" in line


def zeroed(path: Path) -> None:
    path.write_bytes(b"")


def renamed(path: Path) -> None:
    path.write_text("this is no image")


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [cut, zeroed, renamed, removed])
@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "svs", "h5", "dcm", "nii.gz"])
def test_every_damaged_file_is_one_error_that_names_it(tmp_path, kind, damage):
    path = tmp_path / f"file.{kind}"
    modality = "radiology" if kind in ("dcm", "nii.gz") else "pathology"
    if kind in ("png", "jpg", "tif"):
        saved(path, picture(1))
    elif kind == "svs":
        shutil.copy(REAL, path)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["features"], file["coords"] = RNG.normal(size=(64, 16)), np.arange(128).reshape(64, 2)
    elif kind == "dcm":
        shutil.move(write_series(tmp_path / "series", body(1)) / "001.dcm", path)
    else:
        write_nifti(path)
    kinds = {"svs": "slides", "h5": "features", "dcm": "dicom", "nii.gz": "nifti"}
    site = hospital("north", [("A", path, kinds.get(kind, "images"))], modality)
    if kind != "svs":  # slow, and seen whole in a test above
        assert not any(line.startswith("error") for line in checked(site))
    damage(path)
    (line,) = checked(site)
    assert line.startswith(f"error: {path}: ")
    assert "\n" not in line


def test_a_kind_that_a_modality_has_not_is_refused(tmp_path):
    write_nifti(tmp_path / "a.nii.gz")
    (line,) = checked(hospital("north", [("A", tmp_path / "a.nii.gz", "nifti")]))
    assert "a.nii.gz: field kind: no kind of file that pathology has (nifti)" in line


def test_copies_are_found_at_other_sizes_and_qualities_and_no_others():
    originals = [Image.fromarray(picture(seed, 256)) for seed in range(100)]
    prints = [Prints.of(np.asarray(image)[None]) for image in originals]
    for seed, image in enumerate(originals):
        stream = io.BytesIO()
        image.resize((180 + seed % 76,) * 2).save(stream, "JPEG", quality=75 + seed % 20)
        prints.append(Prints.of(np.asarray(Image.open(stream).convert("RGB"))[None]))
    found = shared_pictures(prints, np.arange(200))
    assert {(second - first, shared, possible) for first, second, shared, possible in found} == {(100, 1, 1)}
    assert len(found) >= 99  # a hash may lie one bit too far
    assert shared_pictures(prints, np.tile(np.arange(100), 2)) == []


def test_features_beside_pictures_and_of_two_types_are_errors(tmp_path):
    files = [("A", saved(tmp_path / "a.png", picture(1)), "images")]
    for place, kind in enumerate((np.float16, np.float32)):
        with h5py.File(tmp_path / f"{place}.h5", "w") as file:
            file["features"], file["coords"] = RNG.normal(size=(4, 8)).astype(kind), np.arange(8).reshape(4, 2)
        files.append((f"P{place}", tmp_path / f"{place}.h5", "features"))
    beside, _ = checked(hospital("north", files))
    assert "0.h5: field kind: float16 features, a.png is pictures; give all of a hospital's files as images" in beside
    (types,) = checked(hospital("north", files[1:]))
    assert "1.h5: field kind: float32 features, 0.h5 is float16 features" in types
    assert checked(hospital("north", files[:1]), hospital("south", files[1:2])) == []


def test_scans_that_share_less_than_half_of_their_slices_are_two():
    pictures = [np.stack([picture(seed) for seed in seeds]) for seeds in (range(5), range(3, 8), range(4, 5))]
    prints = [Prints.of(images) for images in pictures]
    assert shared_pictures(prints, np.arange(3)) == [(0, 2, 1, 1), (1, 2, 1, 1)]
    assert shared_pictures([], np.arange(0)) == []
