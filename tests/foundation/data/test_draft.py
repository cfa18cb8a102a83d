"""Drafts of declarations: folders of each form are recognised, and what nobody could tell is asked."""

import os
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import yaml

from foundation.data.declaration import declare
from foundation.data.draft.page import ASKS, Draft, draft
from foundation.data.validation import validate
from foundation.errors import UserError
from tests.foundation.data.test_event_tables import OMOP, SYNTHEA

GENES = ["TP53", "EGFR", "PTEN", "IDH1", "KRAS", "BRAF", "MYC", "RB1"]
GLIOMA = Path(os.environ.get("CONSILIUM_DATA", "../shared/data")) / "tcga_glioma"


def drafted(folder: Path, **changes: Any) -> tuple[Draft, list[str]]:
    """The draft, and the errors of a validation with its declaration, questions answered."""
    made = draft(folder)
    content = yaml.safe_load(made.text())
    for place in content["sources"].values():
        if isinstance(place, dict) and "index" in place:
            place |= changes
    validation = validate(folder, declare(content, folder), progress=False)
    return made, [str(problem) for problem in validation.problems.errors]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def table(name: str, patients: list[str], seed: int = 0) -> str:
    values = np.random.default_rng(seed).normal(size=(len(patients), len(GENES))).round(3)
    rows = [",".join([patient, *map(str, row)]) for patient, row in zip(patients, values, strict=True)]
    return "\n".join([",".join([name, *GENES]), *rows]) + "\n"


def scan(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 900, (12, 12, 6)).astype(np.int16)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)


def features(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)
        file["coords"] = np.arange(6).reshape(3, 2)


PATIENTS = [f"P{number}" for number in range(12)]
CLINICAL = "patient_id,clinic,age,sex,dead,survival_months,her2\n" + "".join(
    f"{patient},{'ab'[place % 2]},{50 + place}.5,{'FM'[place % 2]},{place % 2},{place + 1}.5,{place // 2 % 2}\n"
    for place, patient in enumerate(PATIENTS)
)


def test_plain_tables_become_a_declaration_that_validates(tmp_path: Path):
    text = "".join(f"{patient},Report {patient}: " + "dense sheets of cells " * 5 + "\n" for patient in PATIENTS)
    write(
        tmp_path,
        **{"patients.csv": CLINICAL, "rna.csv": table("patient_id", PATIENTS), "notes.csv": "patient_id,note\n" + text},
    )
    made, errors = drafted(tmp_path)
    assert errors == []
    content = yaml.safe_load(made.text())
    assert content["hospitals"] == {"column": "clinic"}
    patients = content["sources"]["patients"]["columns"]
    assert patients["os_event"] == "dead"
    assert patients["os_days"] == {"from": "survival_months", "scale": 30.4375}
    assert content["dictionary"]["labels"] == ["her2"]
    assert content["sources"]["expression"] == {"file": "rna.csv", "unit": "zscore"}
    assert content["sources"]["reports"]["table"]["columns"] == {"text": "note"}
    record = {column["name"]: column for column in content["dictionary"]["record"]}
    assert record["age"]["center"] == pytest.approx(56)
    assert record["sex"]["values"] == ["F", "M"]
    assert not {"dead", "survival_months"} & record.keys()
    assert made.count == made.text().count(f"\n  {ASKS}") + made.text().count(f"\n{ASKS}")


def test_e_and_t_are_the_outcome_and_no_inputs_and_many_codes_no_labels(tmp_path: Path):
    stages = [f"stage_{number}" for number in range(9)]
    rows = [f"P{i},{40 + i},{','.join(str(int(i % 9 == s)) for s in range(9))},{i % 2},{100 + i}" for i in range(40)]
    header = ",".join(["pid", "age", *stages, "E", "T"])
    write(tmp_path, **{"all.csv": "\n".join([header, *rows]), "split.csv": "pid,set\nP1,train\nP2,test\n"})
    made, errors = drafted(tmp_path)
    assert errors == []
    assert made.content["sources"]["patients"]["columns"] == {"os_event": "E", "os_days": "T"}
    assert [column["name"] for column in made.content["dictionary"]["record"]] == ["age", *stages]
    assert "labels" not in made.content["dictionary"]
    write(tmp_path / "staged", **{"all.csv": "\n".join([header.replace("E", "N"), *rows])})
    assert "T" in {column["name"] for column in draft(tmp_path / "staged").content["dictionary"]["record"]}


def test_a_folder_a_hospital_and_a_german_table(tmp_path: Path):
    for name in ("nord", "sued"):
        rows = "".join(f"{name}{n};{n % 2};{n},5\n" for n in range(10))
        write(tmp_path, **{f"{name}/patients.csv": f"patient_id;her2;alter\n{rows}"})
    made, errors = drafted(tmp_path)
    content = yaml.safe_load(made.text())
    assert errors == []
    assert content["hospitals"] == ["nord", "sued"]
    assert content["sources"]["record"]["delimiter"] == ";"
    assert content["sources"]["record"]["decimal"] == ","


def test_bids_nnunet_trident_and_clam(tmp_path: Path):
    for number in (1, 2):
        scan(tmp_path / "bids" / f"sub-{number:02}" / "anat" / f"sub-{number:02}_T1w.nii.gz", number)
        scan(tmp_path / "nnunet" / "imagesTr" / f"C_{number:03}_0000.nii.gz", number)
        scan(tmp_path / "nnunet" / "labelsTr" / f"C_{number:03}.nii.gz", number + 7)
        features(tmp_path / "trident" / "20x_256px_0px_overlap" / "features_uni_v1" / f"P{number}.h5", number)
        features(tmp_path / "clam" / "out" / "h5_files" / f"s{number}.h5", number)
    write(tmp_path / "bids", **{"participants.tsv": "participant_id\tdx\nsub-01\t0\nsub-02\t1\n"})
    write(tmp_path / "nnunet", **{"patients.csv": "patient_id,dx\nC_001,0\nC_002,1\n"})
    write(tmp_path / "trident", **{"patients.csv": "patient_id,dx\nP1,0\nP2,1\n"})
    write(tmp_path / "clam", **{"dataset.csv": "case_id,slide_id,dx\nc1,s1,0\nc2,s2,1\n"})
    sources = {}
    for name in ("bids", "nnunet", "trident", "clam"):
        made, errors = drafted(tmp_path / name)
        assert errors == [], name
        sources[name] = yaml.safe_load(made.text())["sources"]
    assert sources["bids"]["radiology"] == {"form": "bids"}
    assert sources["bids"]["patients"] == {"form": "bids", "columns": {"dx": "dx"}}
    assert sources["nnunet"]["radiology"] == {"form": "nnunet"}
    assert sources["trident"]["pathology"] == {"form": "trident"}
    assert sources["clam"]["pathology"]["path"] == "out/h5_files/{file}.h5"
    assert sources["clam"]["patients"]["unique"] == "identical"


@pytest.mark.parametrize(
    ("form", "place", "files", "index"),
    [("omop", "cdm/", OMOP, "omop|4112853"), ("synthea", "", SYNTHEA, "http://snomed.info/sct|254837009")],
)
def test_event_tables_need_their_index_alone(form: str, place: str, files: dict[str, str], index: str, tmp_path: Path):
    write(tmp_path, **{place + name: text for name, text in files.items()})
    made, errors = drafted(tmp_path, index=index)
    sources = yaml.safe_load(made.text())["sources"]
    assert sources["patients"]["form"] == sources["record"]["form"] == form
    assert sources["patients"]["files"] == f"{place}*"
    assert any("Write the index" in question for question in made.questions["sources.patients"])
    unknown = [line for line in errors if "gender" not in line and "sex" not in line]  # one person's is unknown
    assert unknown == []


def test_tables_of_portals_are_known_by_their_headers(tmp_path: Path):
    rows = "".join(f"{gene}\t1\t{place}\t{place + 1}\n" for place, gene in enumerate(GENES))
    write(
        tmp_path,
        **{
            "data_mrna.txt": f"Hugo_Symbol\tEntrez_Gene_Id\tP0\tP1\n{rows}",
            "data_cna.txt": f"Hugo_Symbol\tEntrez_Gene_Id\tP0\tP1\n{rows}",
            "data_mutations.txt": "Hugo_Symbol\tVariant_Classification\tTumor_Sample_Barcode\nTP53\tSilent\tP0\n",
            "patients.csv": CLINICAL,
        },
    )
    sources = yaml.safe_load(draft(tmp_path).text())["sources"]
    assert sources["expression"] == {"file": "data_mrna.txt", "form": "cbioportal", "unit": "counts"}
    assert sources["copy_number"] == {"file": "data_cna.txt", "form": "cbioportal"}
    assert sources["mutations"] == {"file": "data_mutations.txt", "form": "maf"}


def test_ids_that_are_names_of_genes_are_patients(tmp_path: Path):
    write(tmp_path, **{"patients.csv": "patient_id,y\n" + "".join(f"p{n},{n % 2}\n" for n in range(1, 9))})
    content = yaml.safe_load(draft(tmp_path).text())
    assert content["sources"] == {"patients": {"file": "patients.csv", "columns": {"y": "y"}}}
    rows = "".join(f"{gene}\t{place}.5\t{place}\n" for place, gene in enumerate(GENES))
    write(tmp_path, **{"HiSeqV2.tsv": f"sample\tp1\tp2\n{rows}"})
    expression = yaml.safe_load(draft(tmp_path).text())["sources"]["expression"]
    assert (expression["genes_in"], expression["key"]) == ("rows", "sample")


def test_what_is_no_folder_or_has_nothing_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="no such folder"):
        draft(tmp_path / "x")
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match="empty; put the cohort's files there first"):
        draft(tmp_path / "x")


def test_what_no_table_or_resource_is_does_not_stop_the_draft(tmp_path: Path):
    write(tmp_path, **{"patients.csv": "patient_id,age\nP1,40\nP2,50\n", "number.json": '5\n"resourceType"'})
    write(tmp_path, **{"listed.csv": f"patient_id,file\nP1,{'a' * 300}.png\nP2,b.png\n"})
    (tmp_path / "a.json").mkdir()
    (tmp_path / "b.ndjson").mkdir()
    os.mkfifo(tmp_path / "c.json")
    assert {"patients", "pathology"} <= draft(tmp_path).content["sources"].keys()


def test_a_folder_without_patients_asks_for_them(tmp_path: Path):
    scan(tmp_path / "scans" / "a.nii.gz", 1)
    made = draft(tmp_path)
    assert "No table of patients was recognised" in made.questions[""][0]
    assert yaml.safe_load(made.text())["sources"]["radiology"]["files"] == "scans/**/*"


@pytest.mark.skipif(not GLIOMA.is_dir(), reason=f"{GLIOMA} is not there")
def test_the_real_gliomas_are_recognised():
    made = draft(GLIOMA)
    content = yaml.safe_load(made.text())
    sources = content["sources"]
    assert content["hospitals"] == {"column": "hospital"}
    assert sources["patients"]["columns"]["os_days"] == "OS.time"
    assert content["dictionary"]["labels"] == ["idh", "codel"]
    assert sources["pathology"]["table"] == {"file": "he_rois.csv", "key": "case_id"}
    assert sources["radiology"]["table"] == {"file": "mri_slices.csv", "key": "case_id"}
    assert sources["expression"]["suffix"] == "_rnaseq"
    assert sources["copy_number"]["suffix"] == "_cnv"
    assert {source["file"] for source in sources["mutations"]} == {
        "genomics_porpoise.csv.gz",
        "mutations_cbioportal.csv.gz",
    }
    assert sources["record"]["file"] == "clinical_tcga_cdr.csv"
    assert not any("Not usable yet" in question for question in made.questions[""])
