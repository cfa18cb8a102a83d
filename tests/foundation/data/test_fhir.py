"""Exports of FHIR, and what is declared of them."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from pydantic import ValidationError

from foundation.data.cohort import Cohort
from foundation.data.declaration import declare
from foundation.data.fhir import read_fhir, read_fhir_survival
from foundation.data.fhir_resources import parse_date
from foundation.data.fhir_source import FhirSource
from foundation.data.pack import pack
from foundation.data.problems import DataError, Problems
from tests.foundation.data.fhir_exports import (
    COLUMNS,
    DIABETES,
    GLIOMA,
    IDH,
    LDH,
    NUMBER,
    bundle,
    concept,
    condition,
    ldh,
    observation,
    patient,
)

RESOURCES = [
    patient("a", "1950-03-02", "female", deceasedDateTime="2021-03-01T23:50:00+01:00"),
    patient("b", "1960", "male"),
    patient("c", "1970-05", "other", deceasedBoolean=True),
    {"resourceType": "Encounter", "id": "skipped"},
    condition("a", GLIOMA, "2020-03-01"),
    condition("a", GLIOMA, "2020-09-01"),
    condition("a", DIABETES),
    condition("b", GLIOMA, None, onsetPeriod={"start": "2020-07-01T08:00:00Z"}),
    condition("b", DIABETES, "2010", verificationStatus=concept("http://terminology.hl7.org/CodeSystem/x|refuted")),
    ldh("a", 300, "2020-03-20"),
    ldh("a", 200, "2020-02-25T09:00:00Z"),
    ldh("a", 900, "2020-12-01"),
    ldh("b", 150, None),
    ldh("b", 1, "2020-01-01") | {"status": "entered-in-error"},
    observation("a", IDH, "2020-03-02", valueCodeableConcept=concept("http://loinc.org|LA6576-8")),
    observation("b", IDH, "2020-07-02", valueString="wild type"),
    observation("c", IDH, "2020-07-02", dataAbsentReason={"text": "no tissue"}),
    observation("b", "http://loinc.org|0-0", "2022-07-01", valueRange={"low": {"value": 1}}) | {"valueRange": None},
]


DECLARED = {"files": "*.json", "index": GLIOMA, "columns": COLUMNS}


def readable() -> list[dict[str, Any]]:
    return [{key: value for key, value in resource.items() if value is not None} for resource in RESOURCES]


EXPECTED = pd.DataFrame(
    {
        "age": [25567 / 365.25, 21915 / 365.25, np.nan],
        "age_then": [25689 / 365.25, 21915 / 365.25, 18310 / 365.25],
        "sex": ["F", "M", "X"],
        "ldh": [200.0, 150.0, np.nan],
        "ldh_last": [900.0, 150.0, np.nan],
        "ldh_near": [200.0, np.nan, np.nan],
        "ldh_after": [300.0, np.nan, np.nan],
        "idh": [1.0, 0.0, np.nan],
        "diabetes": [1, 0, 0],
    },
    index=pd.Index(["a", "b", "c"], name="patient_id"),
)


DATED = {name: column for name, column in COLUMNS.items() if name != "ldh_near"}  # b's one LDH has no date


def test_a_bundle_becomes_a_record(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(bundle(readable()))
    found = read_fhir(tmp_path, FhirSource.model_validate({**DECLARED, "columns": DATED}))
    assert_frame_equal(found, EXPECTED[list(DATED)])


def test_the_closest_needs_dates_and_takes_the_nearer(tmp_path: Path) -> None:
    resources = [one for one in readable() if "effectiveDateTime" in one or one["resourceType"] != "Observation"]
    (tmp_path / "all.json").write_text(bundle(resources))
    found = read_fhir(tmp_path, FhirSource.model_validate(DECLARED))
    assert found["ldh_near"].tolist()[0] == 200.0


def test_a_value_that_cannot_be_read_costs_itself_alone_and_those_alike_are_one_line(tmp_path: Path) -> None:
    codes = [f"http://loinc.org|{number}-1" for number in range(2)]
    quantities = (
        [("a", 5, "kPa", ""), ("b", 6, "bar", ""), ("c", 7, "mm[Hg]", "")],
        [("a", 5, "1", "<"), ("b", 6, "1", "")],
    )
    values = [
        observation(who, code, "2020-03-02", valueQuantity={"value": value, "code": unit, "comparator": sign})
        for code, each in zip(codes, quantities, strict=True)
        for who, value, unit, sign in each
    ]
    (tmp_path / "export.json").write_text(bundle([*readable(), *values]))
    problems = Problems()
    columns = {
        "x": {"observation": codes[0], "unit": "mm[Hg]"},
        "y": {"observation": codes[1], "unit": "1"},
        "sex": {"path": "patient.gender", "values": {"female": "F", "male": "M"}},
    }
    found = read_fhir(tmp_path, FhirSource.model_validate({**DECLARED, "columns": columns}), problems)
    expected = pd.DataFrame(
        {"x": [np.nan, np.nan, 7], "y": [np.nan, 6, np.nan], "sex": ["F", "M", np.nan]}, list("abc")
    )
    assert_frame_equal(found, expected, check_names=False, check_dtype=False)
    assert [(problem.finding, problem.value) for problem in problems.errors] == [
        ("unit is not the declared 'mm[Hg]', of 2 patients, the first", "kPa"),
        ("a bound, no value", "<5.0"),
        ("none of female, male", "other"),
    ]


def test_many_files_bulk_exports_and_other_references_are_the_same(tmp_path: Path) -> None:
    resources = readable()
    for kind in ("Condition", "Observation"):
        lines = [json.dumps(resource) for resource in resources if resource["resourceType"] == kind]
        (tmp_path / f"{kind}.ndjson.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    people = [resource for resource in resources if resource["resourceType"] == "Patient"]
    (tmp_path / "p1.json").write_text(bundle(people[:2]))
    (tmp_path / "p2.json").write_text(bundle(people[1:]))
    text = gzip.decompress((tmp_path / "Condition.ndjson.gz").read_bytes()).decode()
    text = text.replace("Patient/a", "https://server/fhir/Patient/a/_history/3").replace("Patient/b", "urn:uuid:b")
    (tmp_path / "Condition.ndjson.gz").write_bytes(gzip.compress(text.encode()))
    source = FhirSource.model_validate({**DECLARED, "files": "*.*", "columns": DATED, "identifier": NUMBER})
    found = read_fhir(tmp_path, source)
    assert_frame_equal(found, EXPECTED[list(DATED)].set_axis(pd.Index(["N-a", "N-b", "N-c"], name="patient_id")))


def test_survival_is_read_apart(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(bundle([*readable(), condition("c", GLIOMA, "2020-01-01")]))
    found = read_fhir_survival(tmp_path, FhirSource.model_validate({**DECLARED, "columns": {}}))
    expected = {"os_event": [1, 0, 1], "os_days": [365.0, 730.0, np.nan]}
    assert_frame_equal(found, pd.DataFrame(expected, index=EXPECTED.index))


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("1960", "1960-07-01T00:00:00"),
        ("1960-02", "1960-02-15T00:00:00"),
        ("1960-02-29", "1960-02-29T00:00:00"),
        ("2020-01-02T03:04:05.5+02:00", "2020-01-02T03:04:05.500000"),
        ("2020-01-02T03:04:05Z", "2020-01-02T03:04:05"),
    ],
)
def test_dates(text: str, date: str) -> None:
    assert parse_date(text).isoformat() == date


@pytest.mark.parametrize(
    ("column", "line"),
    [
        ({"path": "patient.deceasedDateTime"}, "holds an outcome, which is never an input"),
        ({"path": "patient.deceasedBoolean"}, "holds an outcome"),
        ({"path": "patient.name"}, "give patient.gender or patient.age_at"),
        ({}, "give one of path, observation and condition"),
        ({"observation": LDH, "condition": DIABETES, "unit": "U/L"}, "give one of"),
        ({"observation": LDH}, "needs unit"),
        ({"observation": LDH, "unit": "1", "values": {"a": 1}}, "needs unit"),
        ({"observation": "14804-9", "unit": "U/L"}, "pattern"),
        ({"observation": LDH, "unit": "U/L", "pick": "median"}, "pick"),
        ({"path": "patient.age_at", "at": "1.2.2020"}, "no FHIR date"),
        ({"path": "patient.age_at"}, "needs index"),
        ({"observation": LDH, "unit": "U/L", "window": [-9, 9]}, "needs index"),
        ({"observation": LDH, "units": "U/L"}, "units"),
    ],
)
def test_a_declaration_says_what_is_wrong_with_it(column: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        FhirSource.model_validate({"files": "*.json", "columns": {"x": column}})


def test_a_column_named_like_an_outcome_is_no_input() -> None:
    with pytest.raises(ValidationError, match="'vital_status' is named like an outcome"):
        FhirSource.model_validate({"files": "*", "columns": {"vital_status": {"path": "patient.gender"}}})


def test_survival_needs_a_day_zero(tmp_path: Path) -> None:
    source = FhirSource.model_validate({"files": "*.json", "columns": {"sex": COLUMNS["sex"]}})
    with pytest.raises(DataError, match="field index: survival without a day zero"):
        read_fhir_survival(tmp_path, source)


def test_an_export_alone_is_a_cohort(tmp_path: Path) -> None:
    (tmp_path / "sites" / "north").mkdir(parents=True)
    (tmp_path / "sites" / "north" / "all.json").write_text(bundle(readable()))
    columns = {name: COLUMNS[name] for name in ("age", "sex")}
    content = {
        "name": "fhir",
        "synthetic": True,
        "description": "Made by a test.",
        "hospitals": ["north"],
        "unknown_patients": "ignore",
        "sources": {
            "patients": {"files": "*.json", "index": GLIOMA},
            "record": {"files": "*.json", "index": GLIOMA, "columns": columns},
        },
        "dictionary": {
            "genes": [],
            "record": [
                {"name": "age", "kind": "continuous", "center": 60, "scale": 12},
                {"name": "sex", "kind": "categorical", "values": ["F", "M", "X"]},
            ],
            "survival": {"event": "os_event", "time": "os_days"},
        },
    }
    pack(tmp_path / "sites", tmp_path / "packed", declare(content, Path("cohort.yaml")))
    cohort = Cohort(tmp_path / "packed")
    assert cohort.patients[["os_event", "os_days"]].to_numpy().tolist() == [[1, 365], [0, 730]]
    assert cohort.sample("a")["record"]["sex"] == "F" and round(cohort.sample("a")["record"]["age"]) == 70
