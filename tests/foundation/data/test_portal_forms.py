"""Whole folders of portals and pipelines, declared by the name of their form."""

from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image

from foundation.data.declaration import declare
from foundation.data.problems import DataError
from foundation.data.validation import Validation, validate

SURVIVAL = {"event": "os_event", "time": "os_days"}
RECORD = [{"name": "age", "kind": "continuous", "center": 60, "scale": 10}]


def declared(sources: dict[str, Any], **dictionary: Any) -> dict[str, Any]:
    facts = {"name": "x", "synthetic": True, "description": "x", "hospitals": ["a"]}
    return {**facts, "sources": sources, "dictionary": dictionary}


def checked(root: Path, sources: dict[str, Any], **dictionary: Any) -> Validation:
    return validate(root, declare(declared(sources, **dictionary), root), progress=False)


def features(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = np.random.default_rng(list(path.name.encode())).normal(size=(3, 4)).astype(np.float32)
        file["coords"] = np.arange(6).reshape(3, 2)


def scan(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 900, (12, 12, 6)).astype(np.int16)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)


def test_the_clinical_data_resource_of_tcga(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cdr.csv").write_text(
        "bcr_patient_barcode,age_at_initial_pathologic_diagnosis,gender,OS,OS.time\n"
        "TCGA-02-0001,44.0,FEMALE,1.0,358.0\nTCGA-02-0002,[Not Available],MALE,0,#N/A\n"
    )
    place = {"file": "cdr.csv", "form": "tcga_cdr"}
    sex = {"name": "sex", "kind": "categorical", "values": ["FEMALE", "MALE"]}
    validation = checked(tmp_path, {"patients": place, "record": place}, record=[*RECORD, sex], survival=SURVIVAL)
    (site,) = validation.sites
    assert site.patients.loc["TCGA-02-0001"].tolist() == [1, 358]
    assert site.tables["record"]["age"].dropna().to_dict() == {"TCGA-02-0001": 44}
    assert site.tables["record"]["sex"].tolist() == ["FEMALE", "MALE"]
    # An event without a time is the table's own gap, and told.
    assert [problem.field for problem in validation.problems.errors] == ["os_event"]


def test_a_study_of_cbioportal(tmp_path: Path):
    study = tmp_path / "a"
    study.mkdir()
    rows = [["Patient Identifier", "Age", "Sex", "Status", "Months"], *[["x"] * 5] * 2, ["1"] * 5]
    lines = ["#" + "\t".join(row) for row in rows] + ["PATIENT_ID\tAGE\tSEX\tOS_STATUS\tOS_MONTHS"]
    lines += ["P-1\t61\tMale\t1:DECEASED\t10", "P-2\t50\tFemale\t0:LIVING\t20"]
    (study / "data_clinical_patient.txt").write_text("\n".join(lines) + "\n")
    (study / "data_mrna_seq_v2_rsem.txt").write_text(
        "Hugo_Symbol\tEntrez_Gene_Id\tP-1\tP-2\nTP53\t7157\t5\t7\nEGFR\t1956\t1\t2\nPTEN\t5728\t3\t9\n"
    )
    place = {"file": "data_clinical_patient.txt", "form": "cbioportal"}
    expression = {"file": "data_mrna_seq_v2_rsem.txt", "form": "cbioportal", "unit": "counts"}
    sources = {"patients": place, "record": place, "expression": expression}
    facts = {"genes": ["TP53", "EGFR", "PTEN"], "expression_unit": "counts"}
    validation = checked(tmp_path, sources, record=RECORD, survival=SURVIVAL, **facts)
    assert validation.problems.errors == []
    (site,) = validation.sites
    assert site.patients["os_event"].tolist() == [1, 0]
    assert site.patients["os_days"].tolist() == [304.375, 608.75]
    assert site.tables["record"]["age"].tolist() == [61, 50]
    assert site.tables["expression"].loc["P-2", "PTEN"] == 9


def test_a_bids_dataset(tmp_path: Path):
    root = tmp_path / "a"
    scan(root / "sub-01" / "ses-02" / "anat" / "sub-01_ses-02_T1w.nii.gz", 1)
    scan(root / "sub-02" / "anat" / "sub-02_T1w.nii.gz", 2)
    scan(root / "derivatives" / "x" / "sub-01" / "anat" / "sub-01_T1w.nii.gz", 3)
    (root / "participants.tsv").write_text("participant_id\tage\tdx\nsub-01\t61\t1\nsub-02\tn/a\t0\n")
    patients = {"form": "bids", "columns": {"dx": "dx"}}
    sources = {
        "patients": patients,
        "record": {"form": "bids", "columns": {"age": "age"}},
        "radiology": {"form": "bids"},
    }
    validation = checked(tmp_path, sources, record=RECORD, labels=["dx"])
    assert validation.problems.errors == []
    (site,) = validation.sites
    assert site.patients["dx"].to_dict() == {"01": 1, "02": 0}
    assert {patient: Path(path).name for patient, path in site.tables["radiology"]["path"].items()} == {
        "01": "sub-01_ses-02_T1w.nii.gz",
        "02": "sub-02_T1w.nii.gz",
    }


def test_a_dataset_of_nnunet(tmp_path: Path):
    root = tmp_path / "a"
    for number in (1, 2):
        scan(root / "imagesTr" / f"BRAIN_{number:03}_0000.nii.gz", number)
        scan(root / "imagesTr" / f"BRAIN_{number:03}_0001.nii.gz", number + 9)
        scan(root / "labelsTr" / f"BRAIN_{number:03}.nii.gz", number + 20)
    (root / "patients.csv").write_text("patient_id,y\nBRAIN_001,0\nBRAIN_002,1\n")
    validation = checked(tmp_path, {"radiology": {"form": "nnunet"}}, labels=["y"])
    assert validation.problems.listed == []
    (site,) = validation.sites
    assert [Path(path).name for path in site.tables["radiology"]["path"]] == [
        "BRAIN_001_0000.nii.gz",
        "BRAIN_002_0000.nii.gz",
    ]


def test_features_and_the_table_of_clam(tmp_path: Path):
    root = tmp_path / "a"
    for slide in ("s1", "s2", "s3"):
        features(root / "feats" / "h5_files" / f"{slide}.h5")
    (root / "dataset.csv").write_text("case_id,slide_id,label\nc1,s1,tumor\nc1,s2,tumor\nc2,s3,normal\n")
    label = {"from": "label", "values": {"normal": 0, "tumor": 1}}
    table = {"file": "dataset.csv", "key": "case_id", "columns": {"file": "slide_id"}}
    sources = {
        "patients": {"file": "dataset.csv", "form": "clam", "columns": {"label": label}},
        "pathology": {"form": "clam", "table": table, "path": "feats/h5_files/{file}.h5"},
    }
    validation = checked(tmp_path, sources, labels=["label"])
    assert validation.problems.errors == []
    (site,) = validation.sites
    assert site.patients["label"].to_dict() == {"c1": 1, "c2": 0}
    assert site.tables["pathology"].groupby(level=0).size().to_dict() == {"c1": 2, "c2": 1}
    assert set(site.tables["pathology"]["kind"]) == {"features"}


def test_a_folder_that_trident_wrote(tmp_path: Path):
    root = tmp_path / "a"
    for slide in ("P1.slide1", "P2.slide1"):
        features(root / "20x_256px_0px_overlap" / "features_uni_v1" / f"{slide}.h5")
        features(root / "20x_256px_0px_overlap" / "patches" / f"{slide}_patches.h5")
    (root / "patients.csv").write_text("patient_id,y\nP1,0\nP2,1\n")
    validation = checked(tmp_path, {"pathology": {"form": "trident"}}, labels=["y"])
    assert validation.problems.listed == []
    (site,) = validation.sites
    assert site.tables["pathology"].index.tolist() == ["P1", "P2"]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"patients": {"file": "x.csv", "form": "redcap"}}, r"sources\.patients\.form: Input should be 'tcga_cdr'"),
        ({"radiology": {"form": "clam"}}, r"sources\.radiology\.kind: Input should be"),
        ({"pathology": {"files": "*.h5", "path": "x/{file}"}}, "path: for files that a table lists"),
    ],
)
def test_a_form_that_is_none_or_not_there_is_refused(sources: dict[str, Any], words: str, tmp_path: Path):
    with pytest.raises(DataError, match=words):
        declare(declared(sources), tmp_path)


def test_pictures_of_a_table_lie_where_their_path_says(tmp_path: Path):
    (tmp_path / "a" / "img").mkdir(parents=True)
    for name in ("1", "2"):
        pixels = np.random.default_rng(int(name)).integers(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a" / "img" / f"{name}.png")
    (tmp_path / "a" / "patients.csv").write_text("patient_id,y\np1,0\np2,1\n")
    (tmp_path / "a" / "list.csv").write_text("patient_id,file\np1,1\np2,2\n")
    sources = {"radiology": {"table": {"file": "list.csv"}, "path": "img/{file}.png"}}
    validation = checked(tmp_path, sources, labels=["y"])
    assert validation.problems.errors == []
    assert validation.sites[0].tables["radiology"].index.tolist() == ["p1", "p2"]
