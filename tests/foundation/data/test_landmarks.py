"""Several samples, slides and days a patient: what is taken, and that nothing measured after the landmark is."""

import json
from pathlib import Path

import pydicom
import pytest
from PIL import Image

from foundation.data.cohort import Cohort
from foundation.data.pack import pack
from tests.foundation.data.test_newcomer import checked, lines, told, write
from tests.foundation.scan_files import write_series

RULE = "(diagnosis_date + 30 days)"
PATIENTS = """patient_id,diagnosis_date,os_event,os_days
p1,2020-03-01,1,400
p2,2020-06-01,0,300
p3,,0,20
"""
RECORD = """patient_id,taken,ldh
p1,2020-02-01,100
p1,2020-03-31,200
p1,2020-04-01,300
p2,2020-05-01,50
p2,,60
p3,2020-01-01,10
"""
REPORTS = "patient_id,date,text\np1,2020-03-30,before\np1,2020-05-30,after\np2,2020-06-20,on time\np2,,undated\n"
GENES = "patient_id,taken,TP53,EGFR\np1,01.03.2020,1,2\np1,01.04.2020,3,4\np2,01.07.2020,5,6\np2,02.07.2020,7,8\n"
FILES = ("p1_20200301_a", "p1_20200301_b", "p1_20200101_a", "p1_20200501_a", "p2_20200601_a")


def cohort(root: Path, **declared: object) -> Path:
    survival = {"event": "os_event", "time": "os_days"}
    record = [{"name": "ldh", "kind": "continuous", "center": 100, "scale": 50}]
    files = {"a/patients.csv": PATIENTS, "a/record.csv": RECORD, "a/reports.csv": REPORTS, "a/genes.csv": GENES}
    sources = {
        "record": {"file": "record.csv", "columns": {"ldh": "ldh"}, "date": "taken", "unique": "latest"},
        "expression": {"file": "genes.csv", "date": "taken", "date_format": "%d.%m.%Y", "unique": "earliest"},
        "radiology": {"files": "ct/*.png", "date_pattern": "_(\\d{8})_", "select": "latest"},
    }
    landmark = {"date": "diagnosis_date", "days": 30}
    dictionary = {"record": record, "survival": survival, "expression_unit": "zscore"}
    write(root, files, **{"sources": sources, "landmark": landmark, "dictionary": dictionary, **declared})
    (root / "a" / "ct").mkdir(exist_ok=True)
    for name in FILES:
        Image.new("RGB", (32, 32)).save(root / "a" / "ct" / f"{name}.png")
    return root


def test_nothing_measured_after_the_landmark_enters_an_input(tmp_path):
    validation = checked(cohort(tmp_path))
    tables = validation.sites[0].tables
    assert tables["record"]["ldh"].to_dict() == {"p1": 200, "p2": 50}
    assert tables["reports"]["text"].to_dict() == {"p1": "before", "p2": "on time"}
    assert tables["expression"]["TP53"].to_dict() == {"p1": 1.0, "p2": 5.0}
    assert [Path(path).stem for path in tables["radiology"]["path"]] == [
        "p1_20200301_a",
        "p1_20200301_b",
        "p2_20200601_a",
    ]
    steps = told(validation)
    assert {rule: count for rule, count in steps.items() if RULE in rule} == {
        f"rows dated after the landmark {RULE}, left out": 1,
        f"reports dated after the landmark {RULE}, left out": 1,
        f"samples dated after the landmark {RULE}, left out": 2,
        f"files dated after the landmark {RULE}, left out": 1,
    }
    assert steps["rows without a date, or of patients without an index date, left out"] == 2
    assert steps["reports without a date, or of patients without an index date, left out"] == 1
    assert steps["a patient's other rows (unique: latest)"] == 1
    assert steps["a patient's other files (select: latest)"] == 1
    listed = "\n".join(lines(validation))
    assert "1 patients without an index date: nothing dated of theirs is read, the first (p3)" in listed
    assert "1 patients are followed up for less than the 30 days to the landmark, the first (p3)" in listed


def test_the_counts_stand_in_the_prepared_cohort(tmp_path):
    pack(cohort(tmp_path / "raw"), tmp_path / "packed")
    content = json.loads((tmp_path / "packed" / "cohort.json").read_text())
    counts = {step["rule"]: step["count"] for step in content["provenance"]}
    assert counts[f"files dated after the landmark {RULE}, left out"] == 1
    assert Cohort(tmp_path / "packed").patients["radiology_count"].to_dict() == {"p1": 2, "p2": 1, "p3": 0}


def test_sources_of_which_nobody_says_the_day_are_named(tmp_path):
    record = {"file": "record.csv", "columns": {"ldh": "ldh"}, "unique": "first"}
    sources = {"record": record, "radiology": {"files": "ct/*.png"}}
    listed = lines(checked(cohort(tmp_path, sources=sources)))
    for what in ("rows", "files"):
        expected = (
            f"field date: nobody says whether its {what} were measured before the landmark {RULE}; "
            "say date: COLUMN in the source's declaration, or timeless: true if they never change"
        )
        assert expected in listed
    for source in sources.values():
        source["timeless"] = True
    assert not any("nobody says" in line for line in lines(checked(cohort(tmp_path, sources=sources))))


def test_without_a_landmark_the_latest_of_all_is_taken(tmp_path):
    tables = checked(cohort(tmp_path, landmark=None)).sites[0].tables
    assert tables["record"]["ldh"].to_dict() == {"p1": 300, "p2": 50, "p3": 10}
    assert tables["reports"]["text"].to_dict() == {"p1": "before\n\nafter", "p2": "on time\n\nundated"}
    assert [Path(path).stem for path in tables["radiology"]["path"]] == ["p1_20200501_a", "p2_20200601_a"]


def test_all_slides_of_the_primary_tumour_are_taken(tmp_path):
    names = ["TCGA-AA-0001-06A-01-DX1", "TCGA-AA-0001-01A-01-DX1", "TCGA-AA-0001-01A-01-DX2", "TCGA-AA-0002-06A-01-DX1"]
    source = {"files": "ct/*.png", "samples": "primary"}
    root = write(
        tmp_path, {"a/patients.csv": "patient_id\nTCGA-AA-0001\nTCGA-AA-0002\n"}, sources={"radiology": source}
    )
    (root / "a" / "ct").mkdir()
    for name in names:
        Image.new("RGB", (32, 32)).save(root / "a" / "ct" / f"{name}.png")
    validation = checked(root)
    assert [Path(path).stem for path in validation.sites[0].tables["radiology"]["path"]] == names[1:]
    assert told(validation)["files of a patient's other samples, left out"] == 1


def test_images_of_a_table_are_chosen_by_its_dates(tmp_path):
    listed = "patient_id,file,made\n" + "".join(f"p1,ct/{name}.png,{name[3:11]}\n" for name in FILES[:4])
    table = {"file": "ct.csv", "date": "made"}
    root = cohort(tmp_path, sources={"radiology": {"table": table, "select": "latest"}})
    (root / "a" / "ct.csv").write_text(listed)
    tables = checked(root).sites[0].tables
    assert [Path(path).stem for path in tables["radiology"]["path"]] == ["p1_20200301_a", "p1_20200301_b"]


def test_the_latest_of_files_that_say_no_day_is_refused(tmp_path):
    listed = lines(checked(cohort(tmp_path, sources={"radiology": {"files": "ct/*.png", "select": "latest"}})))
    expected = "field select: select: latest, and nobody says when files were made; say date_pattern, which finds"
    assert any(line.startswith(expected) for line in listed)


@pytest.mark.parametrize(("landmark", "series"), [({"date": "diagnosis_date"}, ["one"]), (None, ["two"])])
def test_a_dicom_series_says_its_own_day(tmp_path, landmark, series):
    files = {"a/patients.csv": "patient_id,diagnosis_date\np1,2020-03-01\n"}
    source = {"files": "ct/**/*.dcm", "select": "latest"}
    root = write(tmp_path, files, sources={"radiology": source}, landmark=landmark)
    for name, day in (("one", "20200301"), ("two", "20200302")):
        folder = root / "a" / "ct" / "p1" / name
        write_series(folder)
        for path in folder.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.StudyDate, dataset.AcquisitionDate = "20190101", day
            dataset.save_as(path)
    validation = checked(root)
    assert [Path(path).name for path in validation.sites[0].tables["radiology"]["path"]] == series
    rule = "files dated after the landmark (diagnosis_date), left out"
    assert told(validation).get(rule, 0) == (landmark is not None)


FHIR = {
    "resourceType": "Bundle",
    "entry": [
        {"resource": {"resourceType": "Patient", "id": "f1", "birthDate": "1960-01-01"}},
        {
            "resource": {
                "resourceType": "Condition",
                "subject": {"reference": "Patient/f1"},
                "code": {"coding": [{"system": "s", "code": "cancer"}]},
                "onsetDateTime": "2020-03-01",
            }
        },
        *(
            {
                "resource": {
                    "resourceType": "Observation",
                    "status": "final",
                    "subject": {"reference": "Patient/f1"},
                    "code": {"coding": [{"system": "s", "code": "ldh"}]},
                    "effectiveDateTime": date,
                    "valueQuantity": {"value": value, "code": "U/L"},
                }
            }
            for date, value in (("2020-03-10", 1), ("2020-03-31T23:00:00Z", 2), ("2020-04-02", 3))
        ),
    ],
}


@pytest.mark.parametrize(("days", "value", "late"), [(30, 2.0, 1), (9, 1.0, 2), (60, 3.0, 0)])
def test_fhir_is_read_up_to_the_landmark(tmp_path, days, value, late):
    source = {"files": "*.json", "index": "s|cancer"}
    column = {"observation": "s|ldh", "unit": "U/L", "pick": "last"}
    record = [{"name": "ldh", "kind": "continuous", "center": 2, "scale": 1}]
    sources = {"patients": source, "record": {**source, "columns": {"ldh": column}}}
    dictionary = {"record": record, "survival": {"event": "os_event", "time": "os_days"}}
    root = write(
        tmp_path,
        {"a/export.json": json.dumps(FHIR)},
        sources=sources,
        dictionary=dictionary,
        landmark={"date": "index_date", "days": days},
    )
    validation = checked(root)
    assert validation.sites[0].patients["index_date"].to_dict() == {"f1": "2020-03-01"}
    assert validation.sites[0].tables["record"]["ldh"].to_dict() == {"f1": value}
    rule = f"observations dated after the landmark (index_date + {days} days), left out"
    assert told(validation).get(rule, 0) == late
