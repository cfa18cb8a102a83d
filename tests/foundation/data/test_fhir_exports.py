"""What hospitals' own exports of FHIR hold beside what is declared."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from foundation.data.fhir import read_fhir, read_fhir_survival
from foundation.data.fhir_export import target
from foundation.data.fhir_source import FhirSource
from foundation.data.problems import Problems
from foundation.errors import UserError
from tests.foundation.data.fhir_exports import GLIOMA, IDH, LDH, concept, condition, observation, patient

SBP, DBP, PANEL = "http://loinc.org|8480-6", "http://loinc.org|8462-4", "http://loinc.org|85354-9"


ASSERTED = "http://hl7.org/fhir/StructureDefinition/condition-assertedDate"


def quantity(value: float) -> dict[str, Any]:
    return {"valueQuantity": {"value": value, "code": "mm[Hg]"}}


def as_hospitals_export(**more: Any) -> list[dict[str, Any]]:
    """Two patients; b's diagnosis is dated by mCODE's extension, a pressure is a panel, a visit an instant."""
    parts = [{"code": concept(SBP), **quantity(120)}, {"code": concept(DBP), **quantity(80)}]
    panel = observation("a", PANEL, None, component=parts, effectiveInstant="2020-03-01T08:00:00Z")
    asserted = {"url": ASSERTED, "valueDateTime": "2020-05-01"}
    return [
        patient("a", "1950", "female"),
        patient("b", "1960", "male"),
        condition("a", GLIOMA, "2020-03-01"),
        condition("b", GLIOMA, None, onsetString="spring", extension=[asserted]),
        panel,
        observation("b", LDH, None, effectiveTiming={"event": ["2020-06-01", "2021-05-01"]}, **quantity(1)),
        *more.get("besides", []),
    ]


def export(tmp_path: Path, resources: list[dict[str, Any]], columns: dict[str, Any]) -> FhirSource:
    (tmp_path / "all.ndjson").write_text("\n".join(map(json.dumps, resources)))
    return FhirSource.model_validate({"files": "all.ndjson", "index": GLIOMA, "columns": columns})


def test_components_are_read_by_their_code_alone_or_within_their_panel(tmp_path: Path) -> None:
    columns = {
        "sbp": {"observation": SBP, "unit": "mm[Hg]"},
        "dbp": {"observation": PANEL, "component": DBP, "unit": "mm[Hg]"},
        "none": {"observation": LDH, "component": DBP, "unit": "mm[Hg]"},
    }
    found = read_fhir(tmp_path, export(tmp_path, as_hospitals_export(), columns))
    assert found.loc["a", ["sbp", "dbp"]].tolist() == [120, 80]
    assert found["none"].isna().all() and found.loc["b"].isna().all()


def test_every_kind_of_date_counts(tmp_path: Path) -> None:
    found = read_fhir_survival(tmp_path, export(tmp_path, as_hospitals_export(), {}))
    assert found["os_days"].to_dict() == {"a": 0, "b": 365}


def test_what_nobody_reads_is_counted_and_left(tmp_path: Path) -> None:
    device = observation("a", LDH, "2022-01-01") | {"subject": {"reference": "Device/d1"}}
    besides = [observation("a", IDH, "2021-03-01", valueSampledData={"data": "1 2"}), device]
    problems = Problems()
    source = export(tmp_path, as_hospitals_export(besides=besides), {})
    found = read_fhir_survival(tmp_path, source, problems=problems)
    assert found["os_days"].to_dict() == {"a": 365, "b": 365}
    lines = "\n".join(map(str, problems.warnings))
    assert "1 Observations with valueSampledData, a kind of value that no column reads" in lines
    assert "1 Observations of a Device, no Patient" in lines


@pytest.mark.parametrize("kind", ["replaced-by", "replaces"])
def test_patients_that_were_merged_are_one(tmp_path: Path, kind: str) -> None:
    old, new = ("a0", "a") if kind == "replaced-by" else ("a", "a0")
    linked = {"link": [{"other": {"reference": f"Patient/{new}"}, "type": kind}]}
    people = {"a0": patient("a0", "1950", "female"), "a": patient("a", "1950", "female")}
    people[old] |= linked
    rest = [one for one in as_hospitals_export() if one.get("id") != "a"]
    besides = [condition("a0", GLIOMA, "2019-03-02")]
    problems = Problems()
    source = export(tmp_path, [*people.values(), *rest, *besides], {})
    found = read_fhir_survival(tmp_path, source, problems=problems)
    assert found["os_days"].to_dict() == {"a": 365, "b": 365}
    assert "1 Patients that another resource replaces" in str(problems.warnings[0])


def test_a_differential_diagnosis_is_no_diagnosis_and_whom_it_leaves_out_is_counted(tmp_path: Path) -> None:
    resources = as_hospitals_export()
    resources[2]["verificationStatus"] = concept(
        "http://terminology.hl7.org/CodeSystem/condition-ver-status|differential"
    )
    del resources[3]["extension"]
    problems = Problems()
    assert read_fhir_survival(tmp_path, export(tmp_path, resources, {}), problems=problems).empty
    lines = "\n".join(map(str, problems.warnings))
    assert "1 patients have the index condition without a date and are left out" in lines
    assert "1 patients have no index condition and are left out" in lines


def test_a_file_may_hold_one_resource(tmp_path: Path) -> None:
    for number, resource in enumerate(as_hospitals_export()):
        (tmp_path / f"{number}.json").write_text(json.dumps(resource))
    source = FhirSource.model_validate({"files": "*.json", "index": GLIOMA, "columns": {}})
    assert read_fhir_survival(tmp_path, source)["os_days"].to_dict() == {"a": 0, "b": 365}


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("https://server/fhir/Patient/7/_history/2", "Patient/7"),
        ("Patient/7", "Patient/7"),
        ("/Patient/7", "Patient/7"),
        ("urn:uuid:7", "urn:uuid:7"),
        ("https://server/Group/Patient/7/x", "https://server/Group/Patient/7/x"),
        ("OtherPatient/7", "OtherPatient/7"),
        ("Patient/", "Patient/"),
        ("", ""),
    ],
)
def test_a_reference_names_its_patient_by_kind_and_id(reference: str, name: str):
    assert target(reference) == name


@pytest.mark.parametrize("kind", ["Patient", "Group"])
def test_a_reference_of_many_versions_is_read_at_once(tmp_path: Path, kind: str):
    many = f"{kind}/a/_history/" * 40_000 + "\n\n"
    one = observation("a", LDH, "2020-03-01", **quantity(1)) | {"subject": {"reference": many}}
    entries = [{"resource": resource} for resource in (patient("a", "1950", "female"), one)]
    (tmp_path / "bundle.json").write_text(json.dumps({"resourceType": "Bundle", "entry": entries}))
    source = FhirSource.model_validate({"files": "*.json", "columns": {"ldh": {"observation": LDH, "unit": "U/L"}}})
    began = time.process_time()
    with contextlib.suppress(UserError):  # its unit is another, where the patient is read
        read_fhir(tmp_path, source)
    assert time.process_time() - began < 5
