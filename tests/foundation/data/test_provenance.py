"""What was done to data is told, each with a count, in validation, prepared cohort and page."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.data import validation_report
from foundation.data.cohort import Cohort
from foundation.data.declaration import declare
from foundation.data.description import describe
from foundation.data.dictionary import read_prepared
from foundation.data.pack import pack
from foundation.data.validation import Validation, validate

TABLE = """id,clinic,arm,age,sex,dead,months,ldh
p1,a,x,50,F,0,10,<5
p2,a,x,[NA],M,1,20,7
p3,b,x,> 89,[NA],0,0,8
p4,b,y,40,F,1,5,9
p5,c,x,41,M,0,7,-1
p5,c,x,41,M,0,7,-1
p6,b,x,[NA],F,1,9,6
"""


def declared(**changes: Any) -> dict[str, Any]:
    patients = {
        "file": "t.csv",
        "key": "id",
        "where": {"arm": ["x"]},
        "unique": "identical",
        "columns": {
            "clinic": "clinic",
            "os_event": "dead",
            "os_days": {"from": "months", "scale": 30, "nonpositive_missing": True},
        },
    }
    columns = {
        "age": {"missing": ["[NA]"], "values": {"> 89": 90}},
        "sex": {"missing": ["[NA]"], "values": {"F": "f", "M": "m"}},
        "ldh": {"bounds": "half", "missing": [-1]},
    }
    record = {"file": "t.csv", "key": "id", "unique": "identical", "columns": columns}
    return {
        "name": "x",
        "synthetic": True,
        "description": "x",
        "hospitals": {"column": "clinic", "leave_out": ["c"]},
        "unknown_patients": "ignore",
        "sources": {"patients": patients, "record": record},
        "dictionary": {
            "record": [
                {"name": "age", "kind": "continuous", "center": 60, "scale": 15},
                {"name": "sex", "kind": "categorical", "values": ["f", "m"]},
                {"name": "ldh", "kind": "continuous", "center": 7, "scale": 2},
            ],
            "survival": {"event": "os_event", "time": "os_days"},
        },
    } | changes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "t.csv").write_text(TABLE)
    return tmp_path / "cohort"


def checked(root: Path, **changes: Any) -> Validation:
    return validate(root, declare(declared(**changes), root), progress=False)


def test_every_rule_is_counted(root: Path):
    told = {(step.field, step.rule): step.count for step in checked(root).problems.steps}
    assert told == {
        ("", "rows other than arm x"): 1,
        ("id", "a patient's other rows (unique: identical)"): 2,  # of each of the two sources
        ("", "patients of c"): 1,
        ("months", "zero or below, read as missing"): 1,
        ("months", "converted: cell * 30"): 4,
        ("age", "read as missing: '[NA]' (2)"): 2,
        ("age", "translated by values"): 1,
        ("sex", "read as missing: '[NA]' (1)"): 1,
        ("sex", "translated by values"): 5,
        ("ldh", "read as missing: '-1' (1)"): 1,
        ("ldh", "beyond a limit, read by bounds: half"): 1,
        ("", "rows of record whose patients the patients' table lacks"): 1,
    } | {("id", "a patient's other rows (unique: identical)"): 1}


def test_cells_of_another_column_are_counted_as_its_own(root: Path):
    content = declared()
    age = {"missing": ["[NA]", "> 89"], "or_else": {"from": "months", "missing": [20]}}
    content["sources"]["record"]["columns"]["age"] = age
    steps = validate(root, declare(content, root), progress=False).problems.steps
    told = {step.rule: step.count for step in steps if step.field == "age"}
    # p2's and p6's ages are unknown and p3's is beyond a limit: the other column says two of the three.
    assert told == {"read as missing: '[NA]' (1)": 1, "taken from months instead": 2}


def test_the_flow_counts_patients_down_to_the_outcome(root: Path):
    assert checked(root).flow == [
        {"step": "rows of the patients' tables", "patients": 7},
        {"step": "without rows other than arm x", "patients": 6},
        {"step": "without a patient's other rows (unique: identical)", "patients": 5},
        {"step": "without patients of c", "patients": 4},
        {"step": "patients of the cohort", "patients": 4},
        {"step": "with any modality", "patients": 4},
        {"step": "with os_event known", "patients": 4},
        {"step": "with os_days known", "patients": 3},
    ]


def test_it_stands_in_the_reports_the_prepared_cohort_and_its_page(root: Path, tmp_path: Path):
    (root / "t.csv").write_text(TABLE.replace("p3,b,x,> 89,[NA],0,0,8", "p3,b,x,> 89,[NA],0,3,8"))
    validation = checked(root)
    validation_report.write(validation, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert content["flow"] == validation.flow
    assert {"file": str(root / "t.csv"), "field": "ldh", "rule": "read as missing: '-1' (1)", "count": 1} in content[
        "provenance"
    ]
    page = (tmp_path / "out" / "validation.md").read_text()
    assert "| without patients of c | 4 |" in page
    assert "## What was done, as declared" in page
    pack(root, tmp_path / "packed", declare(declared(), root))
    prepared = read_prepared(tmp_path / "packed")
    assert prepared["flow"] == validation.flow
    assert {"field": "months", "rule": "converted: cell * 30", "count": 5} in prepared["provenance"]
    assert str(root) not in json.dumps(prepared)
    html = describe(Cohort(tmp_path / "packed"))
    assert "How patients came here" in html
    assert "without patients of c" in html


def test_reports_tell_how_much_of_them_is_read(root: Path):
    (root / "notes.csv").write_text("id,text\np1," + "no tumour seen " * 2_000 + "\np2,no tumour seen\n")
    notes = {"table": {"file": "notes.csv", "key": "id"}}
    validation = checked(root, sources={**declared()["sources"], "reports": notes})
    (told,) = [step for step in validation.problems.steps if step.field == "text"]
    assert told.rule == (
        "reports looked at: 100.0% of 6003 words are one piece of the vocabulary, 50.7% of pieces are read"
    )
    assert told.count == 2
    (warned,) = [problem for problem in validation.problems.warnings if problem.field == "text"]
    assert warned.finding == "50.0% of reports are longer than is read, 6000 pieces at most"
