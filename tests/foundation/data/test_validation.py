"""Validation of a cohort: nothing is said of a sound one, and each thing that can be wrong is said once."""

from pathlib import Path

import pandas as pd
import pytest

from foundation.data.clinical_checks import date_columns
from foundation.data.declaration import read_declaration
from foundation.data.split_file import SplitSource
from foundation.data.validation import Validation, validate
from tests.foundation.cohort_files import PATIENTS, declare_otherwise, edit, write_cohort


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cohort(tmp_path / "small")


def checked(root: Path, images: bool = False, **options: object) -> Validation:
    return validate(root, read_declaration(root), images=images, progress=False, **options)


def lines(found: Validation, severity: str = "error", field: str | None = None) -> list[str]:
    return [
        str(problem)
        for problem in found.problems.listed
        if problem.severity == severity and field in (None, problem.field)
    ]


def test_a_sound_cohort_is_counted_and_only_what_packing_drops_is_mentioned(root):
    found = checked(root, images=True)
    assert lines(found) == []
    (scan,) = lines(found, "warning")
    assert "1 of kind dicom carry tags that can show who the patient is" in scan
    assert "nothing to do: packing drops them" in scan
    assert found.counts == {
        "north": {
            "patients": PATIENTS, "pathology": 3, "radiology": 2, "genomics": PATIENTS, "report": 2, "record": PATIENTS,
            "expression": PATIENTS, "mutations": PATIENTS, "copy_number": PATIENTS,
        },
        "south": {
            "patients": PATIENTS, "pathology": 2, "radiology": 0, "genomics": PATIENTS, "report": 2, "record": PATIENTS,
            "expression": PATIENTS, "mutations": PATIENTS, "copy_number": PATIENTS,
        },
    }  # fmt: skip


def test_a_patient_of_two_hospitals_is_an_error_and_under_two_spellings_a_warning(root):
    edit(root / "south" / "patients.csv", patient_id=lambda ids: ["N005", "n-006", *ids[2:]])
    declare_otherwise(root, unknown_patients="ignore")
    found = checked(root)
    (same,) = lines(found, field="patient_id")
    assert "south/patients.csv: field patient_id: is also a patient of north (N005); a patient belongs to one" in same
    (alike,) = (line for line in lines(found, "warning", "patient_id") if "otherwise" in line)
    assert "may be N006 of north, written otherwise (n-006)" in alike


def test_rows_of_unknown_patients_are_errors_unless_they_are_left_out(root):
    edit(root / "north" / "record.csv", patient_id="X999")
    (line,) = lines(checked(root))
    assert "north/record.csv: field patient_id: 1 patients who are not in patients.csv, the first (X999)" in line
    declare_otherwise(root, unknown_patients="ignore")
    assert lines(checked(root)) == []


def test_patients_with_nothing_and_modalities_of_nobody_are_warnings(root):
    for name in ("record", "expression", "mutations", "copy_number"):
        edit_rows(root / "south" / f"{name}.csv", lambda table: table.iloc[:20])
    for path in (root / "south" / "features").iterdir():
        path.unlink()
    for path in (root / "north" / "radiology").rglob("*.*"):
        path.unlink()
    found = checked(root)
    assert lines(found) == []
    nothing, nobody = sorted(lines(found, "warning"), key=lambda line: "south" not in line)
    assert "4 of 24 patients have no modality at all, the first (S020)" in nothing
    assert "no patient of north has radiology" in nobody


def edit_rows(path: Path, change) -> None:
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


def test_impossible_dates_and_ages_are_errors(root):
    dates = {"birth_date": "1890-01-01", "diagnosis_date": "2019-13-01", "last_contact_date": "2190-01-01"}
    edit(root / "north" / "patients.csv", **dates)
    edit(root / "south" / "patients.csv", diagnosis_date="1950-01-01")
    edit(root / "north" / "record.csv", age=lambda ages: ["-3", "212", *ages[2:]])
    found = lines(checked(root))
    for words in (
        "field diagnosis_date: patient N000 is no ISO date (2019-13-01)",
        "field last_contact_date: patient N000 is in the future (2190-01-01)",
        "field diagnosis_date: patient S000 is before birth_date (1950-01-01)",
        "field age: patient N000 is no age in years (-3.0)",
        "field age: patient N001 is no age in years (212.0)",
    ):
        assert sum(words in line for line in found) == 1, words


def test_an_outcome_among_the_inputs_is_found_by_name_and_by_value(root):
    outcome = pd.read_csv(root / "north" / "patients.csv")["os_days"]
    age = 30 + 40 * outcome / outcome.max()
    edit_rows(root / "north" / "record.csv", lambda table: table.assign(vital_status="alive", age=age, months=outcome))
    found = checked(root)
    (name,) = lines(found)
    assert "north/record.csv: field vital_status: holds an outcome by its name" in name
    (value,) = lines(found, "warning", "age")
    assert "almost a copy of os_days (rank correlation 1.00)" in value
    assert lines(found, "warning", "months") == [], "not in the dictionary, so no input"


def test_outcome_words_are_errors_in_a_report_written_after_the_event(root):
    edit(root / "north" / "reports.csv", text="The patient died of glioma.", date="2024-01-01")
    (late,) = lines(checked(root))
    assert "patient N000: outcome words in a report written on or after the event (died)" in late
    edit(root / "north" / "reports.csv", date="2019-03-02")
    found = checked(root)
    assert lines(found) == []
    assert "patient N000: outcome words in the report (died)" in lines(found, "warning", "text")[0]


def test_identifiers_in_reports_are_named_by_kind_and_never_shown(root):
    edit(root / "north" / "reports.csv", text="MRN 48151623, call 555-867-5309 on 3 May 2019. Glioma.")
    found = lines(checked(root), "warning", "text")
    assert found
    assert all("patient N000" in line for line in found)
    assert not any(secret in line for line in found for secret in ("48151623", "867", "May"))
    assert any("DATE in the text" in line for line in found)


def test_many_reports_are_scanned_in_processes_with_the_same_findings(root, monkeypatch):
    text = ["Seen on 3 May 2019." if number % 7 == 0 else "Glioma." for number in range(PATIENTS)]
    ids = [f"N{number:03}" for number in range(PATIENTS)]
    pd.DataFrame({"patient_id": ids, "text": text}).to_csv(root / "north" / "reports.csv", index=False)
    alone = lines(checked(root), "warning", "text")
    assert [line.split("patient ")[1][:4] for line in alone] == ["N000", "N007", "N014", "N021"]
    monkeypatch.setattr("foundation.modalities.report.text_checks._CHUNK", 10)
    assert lines(checked(root), "warning", "text") == alone
    monkeypatch.setattr("foundation.modalities.report.text_checks._MOST", 13)
    sampled = lines(checked(root), "warning", "text")
    assert "identifiers were searched in one of 2 of 24 reports" in sampled[2]
    assert len(sampled) == 4  # N000, N014 and the word on the sample, at both hospitals


def test_profiles_that_say_nothing(root):
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.iloc[0, 1:], table.iloc[1, 1:], table.iloc[2, 1:] = "0", "3.5", ""
        return table

    edit_rows(root / "north" / "expression.csv", change)
    found = checked(root)
    zero, constant = lines(found, field="expression")
    assert "patient N000: every gene is zero" in zero
    assert "patient N001: every gene has one value" in constant
    assert "1 patients without any value, the first (N002)" in lines(found, "warning", "expression")[0]
    assert found.counts["north"]["expression"] == PATIENTS - 1


def test_a_single_class_is_a_warning(root):
    edit(root / "south" / "patients.csv", glioblastoma=lambda cells: ["1"] * len(cells))
    (line,) = lines(checked(root), "warning", "glioblastoma")
    assert "south/patients.csv: field glioblastoma: all patients are of one class (1.0)" in line


def test_a_split_is_held_against_the_patients(root, tmp_path):
    split = tmp_path / "split.csv"
    ids = [f"{letter}{number:03}" for letter in "NS" for number in range(PATIENTS)]
    rows = [(patient, "test" if patient[0] == "S" else "train") for patient in ids]
    pd.DataFrame(rows, columns=["patient_id", "part"]).to_csv(split, index=False)
    assert lines(checked(root, split=SplitSource(file=str(split)))) == []
    damaged = [("N000", "test"), ("n001", "test"), ("N002", "holdout"), ("Z1", "train"), *rows[:2], *rows[3:-1]]
    pd.DataFrame(damaged, columns=["patient_id", "part"]).to_csv(split, index=False)
    found = checked(root, split=SplitSource(file=str(split)))
    for words in (
        "field part: patient N002 is in no part (holdout); say train, validation, test",
        "field part: patient N000 stands 2 times, in test and train (train); list each patient once",
        "field patient_id: 1 patient in no part, the first (S023); list every patient",
        "field patient_id: 2 patients in no patients' table, the first (Z1); drop their rows",
    ):
        assert sum(words in line for line in lines(found)) == 1, words
    (alike,) = lines(found, "warning", "patient_id")
    assert "n001 and N001 may be one patient, in test and train" in alike


@pytest.mark.parametrize(
    "columns, wanted",
    [
        (["os_days", "age"], (None, None, None)),
        (["date_of_birth", "Date_of_Diagnosis", "date_last_follow_up"],) * 2,
        (["dob", "diagnosis_date", "death_date"],) * 2,
    ],
)
def test_dates_are_known_by_their_columns_names(columns, wanted):
    assert date_columns(pd.DataFrame(columns=columns)) == tuple(wanted)
