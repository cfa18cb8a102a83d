"""What people with a first cohort want to declare: rows a sample, dates, hospitals, prefixes, labels, split files."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from foundation.data.cohort import Cohort
from foundation.data.declaration import declare, read_declaration
from foundation.data.pack import pack
from foundation.data.problems import DataError
from foundation.data.split_file import read_parts, split_source
from foundation.data.splits import configured_split
from foundation.data.validation import Validation, validate

SPLIT = {"test_hospitals": [], "folds": 0, "validation_fraction": 0.5, "split_seed": 0}


def write(root: Path, files: dict[str, str], **declared: Any) -> Path:
    """A cohort of one hospital `a`, unless declared otherwise."""
    content = {"name": "new", "synthetic": True, "description": "x", "hospitals": ["a"], "dictionary": {}, **declared}
    for name, text in {**files, "cohort.yaml": yaml.safe_dump(content, allow_unicode=True)}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def checked(root: Path) -> Validation:
    return validate(root, read_declaration(root), images=False, progress=False)


def lines(validation: Validation) -> list[str]:
    return [str(problem).split(": ", 1)[1] for problem in validation.problems.listed]


def told(validation: Validation) -> dict[str, int]:
    return {step.rule: step.count for step in validation.problems.steps}


SAMPLES = """,case,slide,TP53_rnaseq,EGFR_rnaseq,dead
0,p1,s1,0.5,1.5,1
1,p1,s2,0.5,1.5,1
2,p2,s3,-1,2,0
"""


def of_samples(root: Path, text: str = SAMPLES, unique: str | None = "identical") -> Path:
    rows = {} if unique is None else {"unique": unique}
    patients = {"file": "t.csv", "key": "case", "unique": "first", "columns": {"dead": "dead"}}
    expression = {"file": "t.csv", "key": "case", "suffix": "_rnaseq", "unit": "zscore", **rows}
    dictionary = {"labels": ["dead"], "expression_unit": "zscore"}
    sources = {"patients": patients, "expression": expression}
    return write(root, {"a/t.csv": text}, sources=sources, dictionary=dictionary)


def test_of_a_row_a_sample_identical_rows_count_once(tmp_path):
    validation = checked(of_samples(tmp_path))
    assert validation.problems.errors == []
    table = validation.sites[0].tables["expression"]
    assert table.to_dict() == {"EGFR": {"p1": 1.5, "p2": 2.0}, "TP53": {"p1": 0.5, "p2": -1.0}}
    assert told(validation)["a patient's identical samples, taken once"] == 1
    assert told(validation)["a patient's other rows (unique: first)"] == 1


def test_of_a_row_a_sample_the_first_or_last_is_taken_where_they_differ(tmp_path):
    other = SAMPLES.replace("1,p1,s2,0.5", "1,p1,s2,0.75")
    assert "a patient's rows differ (p1); say unique: first or last" in lines(checked(of_samples(tmp_path, other)))[0]
    for unique, value in (("first", 0.5), ("last", 0.75)):
        table = checked(of_samples(tmp_path, other, unique)).sites[0].tables["expression"]
        assert table.at["p1", "TP53"] == value
    assert "patient stands twice (p1); keep one row" in lines(checked(of_samples(tmp_path, other, None)))[0]


def test_dates_are_read_as_declared(tmp_path):
    patients = "patient_id,born,seen\np1,31.12.1950,20200301\np2,01.02.1960,\n"
    columns = {"birth_date": {"from": "born", "date": "%d.%m.%Y"}, "diagnosis_date": {"from": "seen", "date": "%Y%m%d"}}
    sources = {"patients": {"file": "patients.csv", "columns": columns}}
    validation = checked(write(tmp_path, {"a/patients.csv": patients}, sources=sources))
    table = validation.sites[0].patients
    assert table["birth_date"].tolist() == ["1950-12-31", "1960-02-01"]
    assert table["diagnosis_date"].tolist() == ["2020-03-01", None]
    assert told(validation)["dates read as %d.%m.%Y"] == 2
    write(tmp_path, {"a/patients.csv": patients.replace("31.12.1950", "12/31/1950")}, sources=sources)
    line = "row 2, field born: is no date written %d.%m.%Y (12/31/1950); mend it, or say how it is written"
    assert line in lines(checked(tmp_path))
    with pytest.raises(DataError, match=r"'%d.%m' is no whole date"):
        columns["birth_date"]["date"] = "%d.%m"
        declare(yaml.safe_load((write(tmp_path, {}, sources=sources) / "cohort.yaml").read_text()), tmp_path)


def test_undeclared_dates_say_what_to_declare(tmp_path):
    write(tmp_path, {"a/patients.csv": "patient_id,birth_date\np1,31.12.1950\n"})
    line = "field birth_date: patient p1 is no ISO date (31.12.1950); write YYYY-MM-DD, or say date: '%d.%m.%Y'"
    assert line in lines(checked(tmp_path))[0]


def test_a_blank_hospital_has_a_name_where_one_is_declared(tmp_path):
    patients = "patient_id,clinic\np1,North\np2,\np3,North\n"
    write(tmp_path, {"patients.csv": patients}, hospitals={"column": "clinic"})
    assert "patient p2 has no hospital; fill it in, mend `hospitals`, or say there blank" in lines(checked(tmp_path))[0]
    write(tmp_path, {}, hospitals={"column": "clinic", "blank": "elsewhere"})
    sites = checked(tmp_path).sites
    assert {site.name: site.patients.index.tolist() for site in sites} == {"north": ["p1", "p3"], "elsewhere": ["p2"]}


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        (",patient_id,y\n0,p1,0\n1,p2,1\n", {}),
        ("Unnamed: 0,patient_id,y\n1,p1,0\n2,p2,1\n", {}),
        (",y\np1,0\np2,1\n", {"key": ""}),
        ("y\np1,0\np2,1\n", {"key": "", "row_names": True}),
    ],
    ids=["counter", "written twice", "names", "of R"],
)
def test_index_columns_without_a_header(tmp_path, text, declared):
    sources = {"patients": {"file": "patients.csv", **declared}}
    write(tmp_path, {"a/patients.csv": text}, sources=sources, dictionary={"labels": ["y"]})
    table = checked(tmp_path).sites[0].patients
    assert table.to_dict() == {"y": {"p1": 0, "p2": 1}}


def test_a_row_longer_than_the_header_says_what_to_declare(tmp_path):
    write(tmp_path, {"a/patients.csv": "y,z\np1,0,1\np2,1,1\n"})
    assert "or say row_names: true if every row begins with a name that the header lacks" in lines(checked(tmp_path))[0]


def test_images_lie_where_columns_of_the_table_say(tmp_path):
    patients = "patient_id\n10000032\n10000764\n"
    listed = "patient_id,study,image\n10000032,50,aa\n10000764,51,bb\n"
    source = {"table": {"file": "cxr.csv"}, "path": "files/p{patient_id:.2}/p{patient_id}/s{study}/{image}.png"}
    write(tmp_path, {"a/patients.csv": patients, "a/cxr.csv": listed}, sources={"radiology": source})
    paths = ["files/p10/p10000032/s50/aa.png", "files/p10/p10000764/s51/bb.png"]
    for path in paths:
        (tmp_path / "a" / path).parent.mkdir(parents=True)
        Image.new("RGB", (32, 40)).save(tmp_path / "a" / path)
    table = checked(tmp_path).sites[0].tables["radiology"]
    assert table["path"].to_dict() == {
        patient: str(tmp_path / "a" / path) for patient, path in zip(("10000032", "10000764"), paths, strict=True)
    }
    source["path"] = "files/{patient_id.__class__}"
    with pytest.raises(DataError, match=r"name columns of the table in braces"):
        read_declaration(write(tmp_path, {}, sources={"radiology": source}))


def test_notes_in_prefixed_folders_are_found_by_a_pattern(tmp_path):
    files = {"a/patients.csv": "patient_id\n10000032\n", "a/files/p10/p10000032/s50.txt": "Clear lungs."}
    write(tmp_path, files, sources={"reports": {"files": "files/**/*.txt"}})
    assert "say key_pattern: '(?:^|/)p([0-9]{8})' if patient 10000032 is meant" in lines(checked(tmp_path))[0]
    write(tmp_path, {}, sources={"reports": {"files": "files/**/*.txt", "key_pattern": "/p([0-9]{8})/"}})
    assert checked(tmp_path).sites[0].tables["reports"]["text"].to_dict() == {"10000032": "Clear lungs."}


def test_labels_of_several_classes_and_numbers(tmp_path):
    patients = "patient_id,grade,ki67\np1,G2,12.5\np2,G1,\np3,G3,40\n"
    labels = [{"name": "grade", "classes": ["G1", "G2", "G3"]}, {"name": "ki67", "unit": "%"}]
    files = {"a/patients.csv": patients, "a/reports.csv": "patient_id,text\np1,a\np2,b\np3,c\n"}
    root = write(tmp_path / "raw", files, dictionary={"labels": labels})
    assert lines(checked(root)) == []
    pack(root, tmp_path / "packed")
    cohort = Cohort(tmp_path / "packed")
    assert cohort.patients["grade"].to_dict() == {"p1": 1, "p2": 0, "p3": 2}
    assert cohort.patients["ki67"].fillna(-1).to_dict() == {"p1": 12.5, "p2": -1, "p3": 40}
    assert cohort.dictionary.labels == ["grade", "ki67"]
    assert (cohort.dictionary.classes, cohort.dictionary.quantities) == ({"grade": ["G1", "G2", "G3"]}, {"ki67": "%"})
    write(root, {"a/patients.csv": patients.replace("G3", "G4")}, dictionary={"labels": labels})
    expected = "field grade: 1 patients, the first p3, have none of G1, G2, G3 (G4); add it to its classes"
    assert any(expected in line for line in lines(checked(root))), lines(checked(root))


def test_a_number_declared_as_a_plain_label_says_what_to_declare(tmp_path):
    write(tmp_path, {"a/patients.csv": "patient_id,ki67\np1,12.5\n"}, dictionary={"labels": ["ki67"]})
    assert "if it is a number, say labels: [{name: ki67, unit: its unit}]" in lines(checked(tmp_path))[0]


def test_images_of_unlike_size_and_no_record_are_a_cohort(tmp_path):
    listed = "patient_id,file\np1,one.png\np1,two.png\n"
    root = write(tmp_path / "raw", {"a/patients.csv": "patient_id\np1\n", "a/radiology.csv": listed})
    for name, size in (("one", (30, 32)), ("two", (28, 31))):
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / "a" / f"{name}.png")
    found = pack(root, tmp_path / "packed")["found"]["a"]
    assert (found["patients"], found["radiology"], found["record"]) == (1, 1, 0)
    images = Cohort(tmp_path / "packed").sample("p1")["radiology"]
    assert [image.shape for image in images.rows(slice(None))] == [(30, 32, 3), (28, 31, 3)]


def test_genes_are_those_of_an_encoder(tmp_path):
    (tmp_path / "run" / "encoder").mkdir(parents=True)
    (tmp_path / "run" / "encoder" / "genes.txt").write_text("TP53\nEGFR\n")
    files = {"raw/a/patients.csv": "patient_id\np1\n", "raw/a/expression.csv": "patient_id,EGFR,TP53,PTEN\np1,1,2,3\n"}
    for folder in ("../run", "../run/encoder", str(tmp_path / "run")):
        write(tmp_path, files)
        write(tmp_path / "raw", {}, dictionary={"genes": {"from": folder}})
        assert read_declaration(tmp_path / "raw").dictionary.genes == ["TP53", "EGFR"]
    pack(tmp_path / "raw", tmp_path / "packed")
    assert Cohort(tmp_path / "packed").sample("p1")["genomics"]["expression"].tolist() == [2.0, 1.0]
    write(tmp_path / "raw", {}, dictionary={"genes": {"from": "nowhere"}})
    with pytest.raises(DataError, match=r"dictionary.genes.from: no genes.txt in that folder \(nowhere\)"):
        read_declaration(tmp_path / "raw")


SPLITS = {
    "wide": (",train,val,test\n0,p1,p3,p4\n1,p2,,\n", {}),
    "yes and no": (
        ",train,val,test\np1,True,False,False\np2,True,False,False\np3,False,True,False\np4,False,False,True\n",
        {},
    ),
    "slides": (",train,val,test\n0,p1-a,p3-a,p4-a\n1,p1-b,,\n2,p2-a,,\n", {"key_pattern": "^([^-]+)"}),
    "words": ("patient_id,part\np1,Train\np2,training\np3,dev\np4,TEST\n", {}),
    "words declared": (
        "id,fold\np1,1\np2,1\np3,2\np4,3\n",
        {
            "key": "id",
            "columns": {"part": "fold"},
            "parts": {"train": [1], "validation": [2], "test": [3]},
        },
    ),
}


@pytest.mark.parametrize("name", SPLITS)
def test_split_files_as_they_come(tmp_path, name):
    text, declared = SPLITS[name]
    (tmp_path / "split.csv").write_text(text)
    parts = read_parts(split_source({"file": str(tmp_path / "split.csv"), **declared}))
    assert parts.to_dict() == {"p1": "train", "p2": "train", "p3": "validation", "p4": "test"}


def test_unknown_parts_are_listed(tmp_path):
    (tmp_path / "split.csv").write_text("patient_id,part\np1,train\np2,holdout\n")
    match = r"patient p2 is in no part \(holdout\); .* parts: \{test: \['holdout'\]\} \(there are train, holdout\)"
    with pytest.raises(DataError, match=match):
        read_parts(split_source(str(tmp_path / "split.csv")))


def test_validation_is_drawn_from_train_where_that_is_declared(tmp_path):
    patients = pd.DataFrame({"patient_id": [f"p{number}" for number in range(10)]})
    reports = patients.assign(text="x")
    files = {"a/patients.csv": patients.to_csv(index=False), "a/reports.csv": reports.to_csv(index=False)}
    pack(write(tmp_path / "raw", files), tmp_path / "packed")
    part = ["train"] * 6 + ["test"] * 4
    patients.assign(part=part).to_csv(tmp_path / "split.csv", index=False)
    split = {"file": str(tmp_path / "split.csv")}
    plain = configured_split(Cohort(tmp_path / "packed"), {**SPLIT, "split_file": split})
    assert (len(plain.train), plain.validation) == (6, [])
    drawn = configured_split(Cohort(tmp_path / "packed"), {**SPLIT, "split_file": {**split, "validation": "drawn"}})
    assert (len(drawn.train), len(drawn.validation), drawn.test) == (3, 3, ["p6", "p7", "p8", "p9"])
    assert sorted([*drawn.train, *drawn.validation]) == [f"p{number}" for number in range(6)]
