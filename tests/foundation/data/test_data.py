"""Site folders: what packing refuses, that it writes all or nothing, and how patients are split."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset, drop_modalities
from foundation.data.pack import pack
from foundation.errors import UserError

DECLARATION = {
    "name": "own",
    "synthetic": True,
    "description": "Made by a test.",
    "hospitals": ["alpha", "beta"],
    "dictionary": {
        "genes": ["TP53", "IDH1"],
        "expression_unit": "log2_tpm",
        "record": [
            {"name": "age", "kind": "continuous", "center": 60.0, "scale": 12.0},
            {"name": "sex", "kind": "categorical", "values": ["F", "M"]},
        ],
        "labels": ["idh"],
        "survival": {"event": "os_event", "time": "os_days"},
    },
}
TABLES = {
    "patients.csv": "patient_id,idh,os_event,os_days\n{0}1,1,0,300\n{0}2,0,1,90\n{0}3,,,\n",
    "pathology.csv": "patient_id,file\n{0}1,1.png\n{0}1,2.png\n{0}2,3.png\n",
    "expression.csv": "patient_id,TP53,XYZ\n{0}1,1.5,9\n",
    "mutations.csv": "patient_id,IDH1\n{0}1,1\n{0}2,\n",
    "reports.csv": "patient_id,text\n{0}2,Dense tumour.\n",
    "record.csv": "patient_id,age,sex\n{0}1,61,F\n{0}3,,M\n",
}


def declare(root: Path, **changes: object) -> None:
    (root / "cohort.yaml").write_text(yaml.safe_dump({**DECLARATION, **changes}))


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    root = tmp_path / "sites"
    for hospital in DECLARATION["hospitals"]:
        (root / hospital).mkdir(parents=True)
        for file, text in TABLES.items():
            (root / hospital / file).write_text(text.format(hospital[0]))
        for number in (1, 2, 3):
            Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(root / hospital / f"{number}.png")
    declare(root)
    return root


def write(file: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / "beta" / file).write_text(text)


def truncated(root: Path) -> None:
    (root / "beta" / "3.png").write_bytes((root / "beta" / "3.png").read_bytes()[:50])


def negative_tpm(root: Path) -> None:
    declare(root, expression_units={"beta": "tpm"})
    write("expression.csv", "patient_id,TP53\nb1,-1\n")(root)


def outcome_in_the_dictionary(root: Path) -> None:
    column = {"name": "os_days", "kind": "continuous"}
    declare(root, dictionary={**DECLARATION["dictionary"], "record": [column]})


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no declaration": (lambda root: (root / "cohort.yaml").unlink(), r"sites/cohort\.yaml: missing"),
    "no YAML": (lambda root: (root / "cohort.yaml").write_text("a: [\nb"), r"cohort\.yaml: not readable"),
    "unknown field": (lambda root: declare(root, hospital=1), r"cohort\.yaml: field hospital: "),
    "outcome declared as input": (
        outcome_in_the_dictionary,
        r"cohort\.yaml: field dictionary: .*'os_days' holds",
    ),
    "no folder": (lambda root: shutil.rmtree(root / "beta"), r"sites/beta: field hospitals: no such folder"),
    "no patients table": (lambda root: (root / "beta/patients.csv").unlink(), r"patients\.csv: missing"),
    "nobody": (write("patients.csv", "patient_id,idh\n"), r"beta/patients\.csv: no patient"),
    "no patient_id": (
        write("record.csv", "id,age\nb1,3\n"),
        r"beta/record\.csv: field patient_id: no such column among id, age",
    ),
    "no file column": (write("pathology.csv", "patient_id\nb1\n"), r"beta/pathology\.csv: field file: no such column"),
    "empty patient_id": (
        write("reports.csv", "patient_id,text\n,x\n"),
        r"reports\.csv: row 2, field patient_id: e",
    ),
    "twice": (
        write("patients.csv", "patient_id\nb1\nb1\n"),
        r"beta/patients\.csv: row 3, field patient_id: patient stands in row 2 already \(b1\)",
    ),
    "two hospitals": (
        write("patients.csv", "patient_id\nb1\nb2\nb3\na1\n"),
        r"beta/patients\.csv: field patient_id: is also a patient of alpha \(a1\)",
    ),
    "stranger": (
        write("record.csv", "patient_id,age\nz,3\n"),
        r"record\.csv: field patient_id: 1 patients who are not in patients.csv, the first \(z\)",
    ),
    "not a table": (
        write("record.csv", "patient_id,age\nb1,3\nb2,4,5,6\n"),
        r"beta/record\.csv: row 3: 4 cells where the header has 2",
    ),
    "empty file": (write("record.csv", ""), r"beta/record\.csv: empty file"),
    "corrupt image": (write("3.png", "no image"), r"beta/3\.png: not readable as an image"),
    "truncated image": (truncated, r"beta/3\.png: not readable as an image"),
    "missing image": (lambda root: (root / "beta/3.png").unlink(), r"beta/3\.png: not readable as an image"),
    "text in expression": (
        write("expression.csv", "patient_id,TP53,IDH1\nb1,high,2\n"),
        r"beta/expression\.csv: field TP53: text where numbers belong",
    ),
    "unknown unit": (
        lambda root: declare(root, expression_units={"beta": "fpkm"}),
        r"beta/expression\.csv: field unit: 'fpkm' cannot be converted exactly to 'log2_tpm'",
    ),
    "negative TPM": (negative_tpm, r"beta/expression\.csv: field unit: negative values cannot be tpm"),
    "outcome in record": (
        write("record.csv", "patient_id,age,vital_status\nb1,3,Dead\n"),
        r"beta/record\.csv: field vital_status: holds an outcome",
    ),
    "outcome in expression": (
        write("expression.csv", "patient_id,TP53,OS.time\nb1,3,300\n"),
        r"beta/expression\.csv: field OS\.time: holds an outcome",
    ),
    "unknown category": (
        write("record.csv", "patient_id,sex\nb1,X\n"),
        r"beta/record\.csv: field sex: 1 patients, the first b1, have none of F, M \(X\)",
    ),
    "text for a number": (
        write("record.csv", "patient_id,age\nb1,old\n"),
        r"beta/record\.csv: field age: patient b1 is no number \(old\)",
    ),
}


@pytest.mark.parametrize(("spoil", "line"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line_and_nothing_half_written(sites, tmp_path, spoil, line):
    output = tmp_path / "packed"
    spoil(sites)
    with pytest.raises(UserError, match=line) as caught:
        pack(sites, output)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sites"]


def test_an_earlier_cohort_stays_when_the_next_is_refused(sites, tmp_path):
    pack(sites, tmp_path / "packed")
    before = {path: path.read_bytes() for path in (tmp_path / "packed").rglob("*") if path.is_file()}
    truncated(sites)
    with pytest.raises(UserError, match="not readable as an image"):
        pack(sites, tmp_path / "packed")
    assert {path: path.read_bytes() for path in (tmp_path / "packed").rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "sites"]


def test_what_a_patient_has_is_what_the_tables_say(sites, tmp_path):
    found = pack(sites, tmp_path / "packed")["found"]
    counts = {"patients": 3, "pathology": 2, "radiology": 0, "genomics": 1, "report": 1, "record": 2}
    assert found == {"alpha": counts, "beta": counts}
    cohort = Cohort(tmp_path / "packed")
    first, second, third = (cohort.sample(name) for name in ("b1", "b2", "b3"))
    assert [image[0, 0, 0] for image in first["pathology"]] == [40, 80]
    np.testing.assert_array_equal(first["genomics"]["expression"], [1.5, np.nan])
    np.testing.assert_array_equal(first["genomics"]["mutations"], [np.nan, 1])
    assert first["record"] == {"age": 61.0, "sex": "F"}
    assert set(second) == {"pathology", "report"}, "a mutation nobody called is no genomics"
    assert second["report"] == "Dense tumour."
    assert third == {"record": {"age": None, "sex": "M"}}
    assert cohort.patients.loc["b3", ["idh", "os_event", "os_days"]].isna().all()
    assert len(PatientDataset(cohort, ["b1", "b2", "b3"], ["genomics", "report"])) == 2


@given(st.integers(0, 2**31), st.integers(1, 5), st.floats(0, 1))
def test_dropping_modalities_always_leaves_one(seed, count, chance):
    sample = {str(index): index for index in range(count)}
    kept = drop_modalities(sample, chance, torch.Generator().manual_seed(seed))
    assert 0 < len(kept) <= count
    assert kept.items() <= sample.items()
