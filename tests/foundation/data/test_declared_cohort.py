"""Cohorts as declared: hospitals of a column, files found or listed, every kind of image packed, nobody named."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from foundation.data.cohort import Cohort
from foundation.data.declaration import declare, read_declaration
from foundation.data.description import describe
from foundation.data.pack import pack
from foundation.data.problems import DataError, Problems
from foundation.data.reading import read_sites
from foundation.modalities.genomics.storage import CHANNELS
from tests.foundation.cohort_files import declare_otherwise, declared, edit, write_cohort
from tests.foundation.scan_files import SECRETS
from tests.foundation.slide_files import tissue, write_tiff


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    root = write_cohort(tmp_path_factory.mktemp("declared") / "sound")
    (root / "north" / "slides").mkdir()
    for patient in ("N000", "N001"):
        write_tiff(root / "north" / "slides" / f"{patient}_DX1.tiff", tissue(1024, 1024), mpp=0.5)
    (root / "north" / "pathology.csv").unlink()
    declare_otherwise(root, sources={})
    return root


@pytest.fixture
def root(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "cohort"))


@pytest.fixture(scope="module")
def hashed(sound, tmp_path_factory) -> Cohort:
    """Packed under keyed hashes, identifiers in reports masked."""
    folder = tmp_path_factory.mktemp("hashed")
    root = Path(shutil.copytree(sound, folder / "cohort"))
    edit(root / "north" / "reports.csv", text="Seen on 03.04.2019, MRN 4711332, phone 555-123-4567. Glioma.")
    declare_otherwise(root, deidentify={"ids": "hash", "key": "../key", "text": "mask"})
    pack(root, folder / "packed")
    return Cohort(folder / "packed")


def test_every_kind_of_file_is_packed(sound, tmp_path):
    pack(sound, tmp_path / "packed")
    cohort = Cohort(tmp_path / "packed")
    counts = cohort.patients[["pathology_count", "radiology_count"]]
    assert cohort.sample("N000")["pathology"].shape[1:] == (256, 256, 3), "tiles of a slide"
    assert counts.at["N000", "pathology_count"] >= 4
    assert cohort.sample("N003")["radiology"].dtype == np.uint8 and counts.at["N003", "radiology_count"] == 6, "DICOM"
    assert counts.at["N004", "radiology_count"] == 6, "NIfTI"
    features = cohort.sample("S000")["pathology"]
    assert features.shape == (6, 16) and features.dtype == np.float32, "tile features"
    genomics = cohort.sample("N000")["genomics"]
    assert sorted(genomics) == sorted(CHANNELS)
    table = pd.read_csv(sound / "north" / "mutations.csv", index_col="patient_id")
    assert genomics["mutations"].tolist() == table.loc["N000", cohort.dictionary.genes].tolist()
    assert cohort.patients.at["S001", "report_text"] == "Oligodendroglioma, report 1."
    thumbnails = sorted(path.name for path in (tmp_path / "packed").rglob("thumbnails/*"))
    assert thumbnails == ["N000-1.jpg", "N001-1.jpg"]


def test_no_file_of_a_hashed_cohort_names_anybody(hashed, sound):
    named = {patient for hospital in "NS" for patient in (f"{hospital}{number:03}" for number in range(30))}
    words = [word.encode() for word in (*named, *map(str, SECRETS.values()), "4711332", "555-123-4567", "03.04.2019")]
    words.append(str(sound).encode())
    files = [path for path in hashed.folder.rglob("*") if path.is_file()]
    found = {}
    for path in files:
        content = path.read_bytes() + path.name.encode()
        if path.suffix == ".parquet":
            content += pd.read_parquet(path).reset_index().to_csv().encode()
        # In compressed pixels four letters come up by chance, in a name of six or more hardly.
        long = path.suffix in (".arrow", ".npy", ".jpg")
        found |= {(path.name, word): 1 for word in words if word in content and not (long and len(word) < 6)}
    assert found == {}
    assert len(files) > 8


def test_hashes_are_the_same_for_the_same_key_and_hide_the_order(hashed):
    ids = hashed.patients.index
    assert all(re.fullmatch(r"P-[0-9a-f]{16}", patient) for patient in ids)
    for hospital in hashed.hospitals:
        own = ids[hashed.patients["hospital"] == hospital].tolist()
        assert own == sorted(own)
    texts = hashed.patients["report_text"]
    (masked,) = texts[texts.str.startswith("Seen")]
    assert masked.endswith("Glioma.") and "4711332" not in masked
    assert (hashed.folder.parent / "key").stat().st_mode & 0o077 == 0
    assert json.loads((hashed.folder / "cohort.json").read_text())["deidentify"] == {"ids": "hash", "text": "mask"}


def one_folder(root: Path, **hospitals: object) -> Path:
    """Both hospitals' patients and records in one folder, the hospital in a column."""
    joined = root.parent / "joined"
    joined.mkdir()
    for name in ("patients", "record"):
        parts = [pd.read_csv(root / site / f"{name}.csv").assign(clinic=f"{site.title()} Clinic") for site in SITES]
        pd.concat(parts).to_csv(joined / f"{name}.csv", index=False)
    (joined / "codes.csv").write_text("code,clinic\nN,Nordic\nS,Sunny\n")
    content = {**declared(), "sources": {}, "hospitals": hospitals}
    (joined / "cohort.yaml").write_text(yaml.safe_dump(content))
    return joined


SITES = ("north", "south")
COLUMNS: dict[str, tuple[dict[str, object], list[str]]] = {
    "a column": ({"column": "clinic"}, ["north_clinic", "south_clinic"]),
    "a column, renamed": ({"column": "clinic", "names": {"North Clinic": "one"}}, ["one", "south_clinic"]),
    "both names of one": ({"column": "clinic", "names": dict.fromkeys(["North Clinic", "South Clinic"], "x")}, ["x"]),
    "a part of the id": ({"pattern": "^([NS])"}, ["n", "s"]),
    "a part, translated by a table": (
        {"pattern": "^([NS])", "table": {"file": "codes.csv", "key": "code", "columns": {"name": "clinic"}}},
        ["nordic", "sunny"],
    ),
    "small ones pooled": ({"column": "clinic", "smallest": 100}, ["others"]),
    "one left out": ({"column": "clinic", "leave_out": ["south_clinic"]}, ["north_clinic"]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_hospitals_are_told_apart_by(name, root):
    hospitals, expected = COLUMNS[name]
    joined, problems = one_folder(root, **hospitals), Problems()
    sites = read_sites(joined, read_declaration(joined), problems)
    assert [site.name for site in sites] == expected
    assert problems.errors == []
    assert all(len(site.tables["record"]) == len(site.patients) > 0 for site in sites)


UNDECLARED: dict[str, tuple[dict[str, object], str]] = {
    "no such column": ({"column": "ward"}, "field ward: no such column"),
    "a pattern that does not match": ({"pattern": "^(X)"}, "has no hospital"),
    "no hospital to leave out": ({"column": "clinic", "leave_out": ["west"]}, "no such hospital to leave out (west)"),
}


@pytest.mark.parametrize("name", UNDECLARED)
def test_hospitals_that_cannot_be_told_are_one_line(name, root):
    hospitals, words = UNDECLARED[name]
    joined, problems = one_folder(root, **hospitals), Problems()
    assert read_sites(joined, read_declaration(joined), problems) == []
    assert words in str(problems.errors[0])


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "a field nobody reads": ({"colour": "blue"}, "field colour"),
    "no hospital": ({"hospitals": []}, "none named"),
    "a hospital twice": ({"hospitals": ["a", "a"]}, "'a' stands twice"),
    "an unknown unit": ({"expression_units": {"north": "rpkm"}}, "field expression_units.north"),
    "hash without key": ({"deidentify": {"ids": "hash"}}, "needs key"),
    "table and files": ({"sources": {"pathology": {"files": "x", "table": {"file": "y"}}}}, "either table or files"),
    "a pattern that is none": (
        {"sources": {"patients": {"file": "p.csv", "key_pattern": "("}}},
        "no regular expression",
    ),
    "a gene that is none": ({"dictionary": {"genes": ["NOTAGENE"]}}, "is no gene, or several (NOTAGENE)"),
    "an outcome among the inputs": (
        {"dictionary": {"genes": [], "record": [{"name": "vital_status", "kind": "continuous"}]}},
        "vital_status",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_one_line(name):
    change, words = WRONG[name]
    with pytest.raises(DataError) as caught:
        declare({**declared(), **change}, Path("cohort.yaml"))
    said = str(caught.value)
    assert said.startswith("cohort.yaml: ") and words in said and "\n" not in said


def test_genes_of_the_dictionary_are_read_under_todays_symbols():
    content = {**declared(), "dictionary": {"genes": ["MLL2", "TP53", "KMT2D"], "expression_unit": "tpm"}}
    assert declare(content, Path("cohort.yaml")).dictionary.genes == ["KMT2D", "TP53"]


def test_a_file_in_two_forms_is_refused(root):
    shutil.copy(root / "north" / "expression.csv", root / "north" / "expression.tsv")
    problems = Problems()
    read_sites(root, read_declaration(root), problems)
    assert "both expression.csv and expression.tsv; keep one" in str(problems.errors[0])


def test_rows_of_unknown_patients_are_an_error_unless_declared(root):
    record = root / "north" / "record.csv"
    record.write_text(record.read_text() + "X999,50,male\n")
    problems = Problems()
    read_sites(root, read_declaration(root), problems)
    (line,) = map(str, problems.errors)
    assert "record.csv: field patient_id: 1 patients who are not in patients.csv, the first (X999)" in line
    declare_otherwise(root, unknown_patients="ignore")
    problems = Problems()
    (north, _) = read_sites(root, read_declaration(root), problems)
    assert problems.errors == [] and "X999" not in north.tables["record"].index


def test_the_page_shows_every_picture_and_nobodys_id(hashed):
    page = describe(hashed, seed=0)
    for title in ("Who has what", "Outcomes", "Expression"):
        assert f">{title}</h2>" in page
    assert page.count("<svg") + page.count("data:image") >= 4
    assert not re.search("|".join(hashed.patients.index), page)
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script" not in page
