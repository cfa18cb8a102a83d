"""Features of slides and regions: what comes out, each content once, and what a killed run leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import foundation  # noqa: F401  # isort: skip
import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from foundation.data.cohort import Cohort
from foundation.data.declaration import read_declaration
from foundation.data.extraction import work
from foundation.data.extraction.run import Plan
from foundation.data.extraction.work import Worker
from foundation.data.pack import pack
from foundation.data.problems import Problems
from foundation.errors import UserError
from foundation.modalities.extractor import FeatureExtractor
from foundation.modalities.pathology.slides import Slide
from foundation.modalities.radiology.scan import SliceSettings
from foundation.modalities.radiology.slices import read_slices
from tests.foundation.feature_files import DECLARATION, SIZE, encoder, extracted, site_folder, write_cohort
from tests.foundation.slide_files import tissue


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def read(output: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features and coordinates by the name of the picture."""
    table = pd.read_csv(output / "north" / "pathology.csv")
    content = {}
    for file, source in zip(table["file"], table["source"], strict=True):
        with h5py.File(output / "north" / file) as stored:
            content[source] = (stored["features"][()], stored["coords"][()])
    return content


def test_features_are_those_of_the_tiles_and_regions(cohort, tmp_path):
    extractor = encoder(tmp_path / "encoder")
    facts = extracted(cohort, tmp_path / "out", extractor)
    assert {name: facts[name] for name in ("files", "contents", "extracted", "dim")} == {
        "files": 4,
        "contents": 3,
        "extracted": 3,
        "dim": 64,
    }
    content = read(tmp_path / "out")
    with Slide(cohort / "north" / "a.svs") as slide:
        tiles = [slide.read(x, y, (48, 48), 1.0) for x, y in content["a.svs"][1].tolist()]
    assert len(tiles) > 4
    np.testing.assert_allclose(content["a.svs"][0], extractor.encode(tiles), atol=1e-5)
    region = np.asarray(Image.open(cohort / "north" / "c.png"))
    np.testing.assert_allclose(content["c.png"][0], extractor.encode([region]), atol=1e-5)
    np.testing.assert_array_equal(content["b.png"][0], content["d.png"][0])
    assert len(list((tmp_path / "out" / "features").iterdir())) == 3


def test_a_file_says_what_it_is_of(cohort, tmp_path):
    facts = extracted(cohort, tmp_path / "out", encoder(tmp_path / "encoder", name="tiny"))
    path = next((tmp_path / "out" / "features").glob("a-*.h5"))
    with h5py.File(path) as file:
        attributes = dict(file.attrs)
    assert (attributes["encoder"], attributes["encoder_digest"]) == ("tiny", facts["encoder_digest"])
    assert (attributes["mpp"], attributes["tile"], attributes["slide"]) == (1.0, 48, "a.svs")
    assert attributes["tile_full_resolution"] == 96
    assert json.loads(attributes["settings"])["tissue"] == 0.3


def test_slides_are_cut_at_the_encoders_own_resolution(cohort, tmp_path):
    extracted(cohort, tmp_path / "out", encoder(tmp_path / "encoder", mpp=0.5))
    coords = read(tmp_path / "out")["a.svs"][1]
    assert np.gcd.reduce(coords, axis=None) == SIZE  # pixels of a slide of 0.5


def test_packed_features_stand_for_images(cohort, tmp_path):
    extracted(cohort, tmp_path / "out", encoder(tmp_path / "encoder"))
    pack(cohort, tmp_path / "packed", workers=1, features=tmp_path / "out")
    packed, content = Cohort(tmp_path / "packed"), read(tmp_path / "out")
    np.testing.assert_array_equal(packed.sample("p1")["pathology"][:], content["a.svs"][0])
    expected = np.concatenate([content[name][0] for name in ("b.png", "c.png", "d.png")])
    np.testing.assert_array_equal(packed.sample("p2")["pathology"][:], expected)


def test_features_of_other_files_are_refused(cohort, tmp_path):
    with pytest.raises(UserError, match=r"out: no finished features; run python -m foundation.data features"):
        pack(cohort, tmp_path / "packed", workers=1, features=tmp_path / "out")
    extracted(cohort, tmp_path / "out", encoder(tmp_path / "encoder"))
    table = tmp_path / "out" / "north" / "pathology.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match=r"pathology\.csv: 1 patients have another number of files"):
        pack(cohort, tmp_path / "packed", workers=1, features=tmp_path / "out")


def regions(root: Path) -> Path:
    """Two patients of one region each."""
    folder = site_folder(root, {"a.png": "p1", "b.png": "p2"})
    for name, seed in (("a", 1), ("b", 2)):
        Image.fromarray(tissue(64, 64, seed)).save(folder / f"{name}.png")
    return folder


def test_features_of_images_that_changed_patient_or_content_are_refused(tmp_path):
    folder = regions(tmp_path / "cohort")
    extracted(tmp_path / "cohort", tmp_path / "out", encoder(tmp_path / "encoder"))

    def again() -> None:
        pack(tmp_path / "cohort", tmp_path / "packed", workers=1, features=tmp_path / "out")

    os.utime(folder / "a.png")  # copied since, and still the same
    again()
    listed = (folder / "pathology.csv").read_text()
    (folder / "pathology.csv").write_text("patient_id,file\np1,b.png\np2,a.png")
    with pytest.raises(UserError, match=r"taken of a\.png, and b\.png is listed there now; run python"):
        again()
    (folder / "pathology.csv").write_text(listed)
    Image.fromarray(tissue(64, 64, 3)).save(folder / "a.png")
    with pytest.raises(UserError, match=r"a\.png: not what features were taken of"):
        again()


def test_features_of_another_encoder_than_the_last_runs_are_refused(tmp_path):
    regions(tmp_path / "cohort")
    extracted(tmp_path / "cohort", tmp_path / "out", encoder(tmp_path / "encoder", name="first"))
    table = tmp_path / "out" / "north" / "pathology.csv"
    of_first = table.read_text()
    extracted(tmp_path / "cohort", tmp_path / "out", encoder(tmp_path / "encoder", name="second"))
    table.write_text(of_first)  # as a hospital's or a modality's whom the second run left out
    with pytest.raises(UserError, match=r"\.h5: made by first, not by the encoder of the last run"):
        pack(tmp_path / "cohort", tmp_path / "packed", workers=1, features=tmp_path / "out")


def test_nothing_is_extracted_twice(cohort, tmp_path):
    extractor = encoder(tmp_path / "encoder")
    extracted(cohort, tmp_path / "out", extractor)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "features").iterdir()}
    next(iter(times)).unlink()
    assert extracted(cohort, tmp_path / "out", extractor)["extracted"] == 1
    kept = {path: path.stat().st_mtime_ns for path in times}
    assert sum(kept[path] != times[path] for path in times) == 1
    assert extracted(cohort, tmp_path / "out", encoder(tmp_path / "encoder", pooling="mean"))["extracted"] == 3


def test_a_file_that_cannot_be_read_costs_itself_alone(tmp_path):
    folder = site_folder(tmp_path / "cohort", {"a.png": "p1", "b.png": "p2"})
    Image.fromarray(tissue(64, 64)).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"b\.png: not readable as an image .*the others are done") as caught:
        extracted(tmp_path / "cohort", tmp_path / "out", encoder(tmp_path / "encoder"))
    assert "\n" not in str(caught.value)
    assert [path.name[:2] for path in (tmp_path / "out" / "features").glob("*.h5")] == ["a-"]
    assert not (tmp_path / "out" / "north").exists()


def test_features_that_are_no_numbers_are_named_and_never_count_as_done(cohort, tmp_path):
    extractor = encoder(tmp_path / "encoder", precision="float16")
    extractor.backbone.norm.weight.fill_(1e6)  # beyond the largest number of float16
    for _ in range(2):
        with pytest.raises(UserError, match=r"NaN or infinite features of it; set extractor.precision=float32.*3 of 3"):
            extracted(cohort, tmp_path / "out", extractor)
        assert not list((tmp_path / "out").glob("features/*.h5"))


@pytest.mark.parametrize(
    ("options", "line"),
    [({"batch": 0}, "batch: found 0"), ({"workers": -1}, "workers: found -1"), ({"gpus": -1}, "gpus: found -1")],
)
def test_counts_that_are_none_are_one_line(tmp_path, options, line):
    with pytest.raises(UserError, match=line):
        Plan(tmp_path, "pathology", **options)


@pytest.mark.parametrize("options", [{"mpp": 0.0}, {"mpp": float("nan")}, {"tile": 0}])
def test_an_encoder_of_no_resolution_is_refused(tmp_path, options):
    with pytest.raises(UserError, match=rf"extractor\.{next(iter(options))}: found .*above 0"):
        encoder(tmp_path / "encoder", **options)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 40), part=st.integers(1, 40), ahead=st.booleans())
def test_features_do_not_depend_on_batches_parts_or_reading_ahead(cohort, tmp_path_factory, batch, part, ahead):
    folder = tmp_path_factory.mktemp("any")
    extractor = encoder(folder / "encoder")
    extractor.save(folder / "extractor")
    picture = listed_slide(cohort, folder)
    before = work.PART
    try:
        work.PART = part
        Worker(FeatureExtractor.load, folder / "extractor", batch, 1, 0)(0)
        work._READY.ahead = ahead
        assert work.extract(folder / "job", [picture]) == []
    finally:
        work.PART, work._READY = before, None
    with picture.open(Problems()) as pictures, h5py.File(picture.target) as file:
        whole = extractor.encode(pictures.read(0, len(pictures.coords)))
        np.testing.assert_allclose(file["features"][()], whole, atol=1e-5)
        np.testing.assert_array_equal(file["coords"][()], pictures.coords)
    assert [path.name for path in folder.iterdir() if "job" in path.name] == []


def listed_slide(cohort: Path, folder: Path) -> work.PictureFile:
    from foundation.modalities.pathology.extraction import READING

    source = read_declaration(cohort).sources.pathology
    path = cohort / "north" / "a.svs"
    return work.PictureFile(path, "slides", "pathology", READING.settings(source, 0.5, SIZE), folder / "a.h5", {})


def test_a_large_file_goes_on_from_its_last_part(cohort, tmp_path, monkeypatch):
    extractor = encoder(tmp_path / "encoder")
    picture = listed_slide(cohort, tmp_path)
    monkeypatch.setattr(work, "PART", 8)
    seen: list[int] = []

    def encode(rows: list[np.ndarray]) -> np.ndarray:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(len(rows))
        return extractor.encode(rows)

    stub = type("Stub", (), {"encode": staticmethod(encode)})
    monkeypatch.setattr(work, "_READY", work._Ready(stub, 4, ahead=False))
    with pytest.raises(KeyboardInterrupt):
        work.extract(tmp_path / "job", [picture])
    assert seen == [4, 4, 4]  # one part of eight, and half of the next
    with picture.open(Problems()) as pictures:
        whole = extractor.encode(pictures.read(0, len(pictures.coords)))
    seen[:] = [0] * 4
    work.extract(tmp_path / "job", [picture])
    assert sum(seen) == len(whole) - 8
    with h5py.File(picture.target) as file:
        np.testing.assert_allclose(file["features"][()], whole, atol=1e-5)


def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(cohort, tmp_path):
    extractor = encoder(tmp_path / "encoder")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "foundation.data", "features", "cohort=folder", "cohort.name=ours"]
    command += [f"cohort.root={cohort}", "extractor.backbone=test_vit", "workers=0", "gpus=0", "batch=1"]
    command += [f"extractor.weights={tmp_path / 'encoder' / 'model.safetensors'}", f"extractor.size={SIZE}"]
    command += [f"+extractor.model_args.img_size={SIZE}", f"output={killed}"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    while not (killed / "features").is_dir():  # it has begun with a file
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert json.loads((killed / "run.json").read_text())["status"] == "running"
    done = len(list((killed / "features").glob("*.h5")))
    facts = extracted(cohort, killed, extractor)
    assert facts["extracted"] == 3 - done
    assert facts["encoder_digest"] == extracted(cohort, whole, extractor)["encoder_digest"]
    one, other = read(killed), read(whole)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name][0], other[name][0], atol=1e-5)
        np.testing.assert_array_equal(one[name][1], other[name][1])
    names = [sorted(path.name for path in (output / "features").iterdir()) for output in (killed, whole)]
    assert names[0] == names[1]


def test_scans_are_encoded_slice_by_slice(tmp_path):
    folder = tmp_path / "cohort" / "north"
    (folder / "radiology").mkdir(parents=True)
    declaration = DECLARATION.replace("table: {file: pathology.csv}, ", "files: no/*, ")
    (tmp_path / "cohort" / "cohort.yaml").write_text(declaration)
    (folder / "patients.csv").write_text("patient_id,idh\np1,1")
    voxels = np.random.default_rng(0).integers(0, 900, (20, 20, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / "radiology" / "p1.nii.gz")
    extractor = encoder(tmp_path / "encoder", mpp=0.5)
    extracted(tmp_path / "cohort", tmp_path / "out", extractor, modality="radiology")
    table = pd.read_csv(tmp_path / "out" / "north" / "radiology.csv")
    slices = read_slices(folder / "radiology" / "p1.nii.gz", "nifti", SliceSettings(), Problems())
    with h5py.File(tmp_path / "out" / "north" / table["file"][0]) as file:
        np.testing.assert_allclose(file["features"][()], extractor.encode(list(slices)), atol=1e-5)
        assert file["coords"][()].tolist() == [[0, place] for place in range(5)]
