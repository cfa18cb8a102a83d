"""FHIR exports: the record and the survival that they hold, and what each damaged export is refused with."""

import copy
import gzip
import json
from collections.abc import Callable
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

GLIOMA = "http://snomed.info/sct|393564001"
DIABETES = "http://snomed.info/sct|44054006"
LDH = "http://loinc.org|14804-9"
IDH = "http://loinc.org|94196-8"
NUMBER = "urn:hospital:number"


def concept(code: str) -> dict[str, Any]:
    system, name = code.split("|")
    return {"coding": [{"system": "urn:local", "code": "x"}, {"system": system, "code": name}]}


def patient(name: str, born: str, gender: str, **more: Any) -> dict[str, Any]:
    number = {"system": NUMBER, "value": f"N-{name}"}
    return {
        "resourceType": "Patient",
        "id": name,
        "identifier": [{"value": "no system"}, number],
        "birthDate": born,
        "gender": gender,
        "name": [{"family": "never read"}],
        **more,
    }


def condition(name: str, code: str, onset: str | None = None, **more: Any) -> dict[str, Any]:
    when = {"onsetDateTime": onset} if onset else {}
    return {
        "resourceType": "Condition",
        "subject": {"reference": f"Patient/{name}"},
        "code": concept(code),
        **when,
        **more,
    }


def observation(name: str, code: str, when: str | None, **value: Any) -> dict[str, Any]:
    date = {"effectiveDateTime": when} if when else {}
    found = {"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/{name}"}}
    return {**found, "code": concept(code), **date, **value}


def ldh(name: str, value: float, when: str | None, unit: str = "U/L", **more: Any) -> dict[str, Any]:
    return observation(name, LDH, when, valueQuantity={"value": value, "code": unit, **more})


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
COLUMNS = {
    "age": {"path": "patient.age_at"},
    "age_then": {"path": "patient.age_at", "at": "2020-07-01"},
    "sex": {"path": "patient.gender", "values": {"female": "F", "male": "M", "other": "X"}},
    "ldh": {"observation": LDH, "unit": "U/L"},
    "ldh_last": {"observation": LDH, "unit": "U/L", "pick": "last"},
    "ldh_near": {"observation": LDH, "unit": "U/L", "pick": "closest-to-index"},
    "ldh_after": {"observation": LDH, "unit": "U/L", "window": [0, 100]},
    "idh": {"observation": IDH, "values": {"LA6576-8": 1, "wild type": 0}},
    "diabetes": {"condition": DIABETES},
}
DECLARED = {"files": "*.json", "index": GLIOMA, "columns": COLUMNS}


def bundle(resources: list[Any]) -> str:
    named = [one["id"] if isinstance(one, dict) and "id" in one else str(index) for index, one in enumerate(resources)]
    entries = [{"fullUrl": f"urn:uuid:{name}", "resource": one} for name, one in zip(named, resources, strict=True)]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})


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


BASE = [
    patient("a", "1950-03-02", "female"),
    condition("a", GLIOMA, "2020-03-01"),
    ldh("a", 300, "2020-03-20"),
    observation("a", IDH, "2020-03-02", valueCodeableConcept=concept("http://loinc.org|LA6576-8")),
]


def changed(entry: int, key: str, value: Any) -> Callable[[Path], object]:
    """The base export in which one field of one entry is another, or gone."""

    def build(folder: Path) -> None:
        resources: list[Any] = copy.deepcopy(BASE)
        *way, last = key.split(".")
        part = resources[entry]
        for step in way:
            part = part[step]
        if value is None:
            del part[last]
        else:
            part[last] = value
        (folder / "all.json").write_text(bundle(resources))

    return build


def added(*more: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "all.json").write_text(bundle([*BASE, *more]))


def text(content: str, name: str = "all.json") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def two_files(folder: Path) -> None:
    (folder / "a.json").write_text(bundle(BASE))
    (folder / "all.json").write_text(bundle([patient("a", "1951", "female")]))


def lines(*resources: Any) -> Callable[[Path], object]:
    return text("\n".join(json.dumps(resource) for resource in resources), "all.ndjson")


CORRUPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda folder: None, r"all\*: no such file"),
    "other format": (text("<Bundle/>", "all.xml"), r"all\.xml: no FHIR JSON by its name"),
    "empty": (text(""), r"all\.json: empty file"),
    "no JSON": (text("{'a': 1}"), r"all\.json: no JSON"),
    "cut off": (text(bundle(BASE)[:-30]), r"all\.json: no JSON"),
    "gzip cut off": (
        lambda folder: (folder / "all.json.gz").write_bytes(gzip.compress(bundle(BASE).encode())[:-30]),
        r"all\.json\.gz: truncated",
    ),
    "web page": (text("<html><body>Log in"), r"all\.json: is a web page"),
    "array": (text(json.dumps(BASE)), r"all\.json: field resourceType: no Bundle \(list\)"),
    "no resource": (text(json.dumps({"id": "x"})), r"field resourceType: no Bundle"),
    "server error": (text('{"resourceType": "OperationOutcome"}'), r"field resourceType: a server's error report"),
    "no entry": (text('{"resourceType": "Bundle"}'), r"field entry: a Bundle without entries"),
    "entry empty": (text('{"resourceType": "Bundle", "entry": []}'), r"field entry: a Bundle without entries"),
    "entry without resource": (
        text('{"resourceType": "Bundle", "entry": [{"fullUrl": "urn:x"}]}'),
        r"field entry\[0\]\.resource: no resource",
    ),
    "resource a text": (added("Patient"), r"field entry\[4\]\.resourceType: no resource type"),
    "no resource type": (changed(1, "resourceType", None), r"field entry\[1\]\.resourceType: no resource type"),
    "resource type misspelt": (changed(2, "resourceType", "observation"), r"\(observation\); write Observation"),
    "nobody": (text(bundle([{"resourceType": "Encounter"}])), r"all\*: no Patient"),
    "patient without id": (
        lines({"resourceType": "Patient", "gender": "male"}),
        r"all\.ndjson: row 1, field id: neither id nor fullUrl",
    ),
    "patient changes": (two_files, r"all\.json: field entry\[0\]\.id: another patient of this id is in a\.json \(a\)"),
    "one URL, two patients": (
        text(bundle([BASE[0], patient("b", "1951", "female")]).replace("urn:uuid:b", "urn:uuid:a")),
        r"field entry\[1\]\.fullUrl: this URL names two patients \(urn:uuid:a\)",
    ),
    "birth date": (
        changed(0, "birthDate", "02.03.1950"),
        r"field entry\[0\]\.birthDate: .*no FHIR date.*\(02\.03\.1950\)",
    ),
    "no such day": (changed(0, "birthDate", "1950-02-30"), r"field entry\[0\]\.birthDate: .*day is out of range"),
    "born later": (
        changed(0, "birthDate", "2021-03-02"),
        r"entry\[0\]\.birthDate: born after 2020-03-01 \(2021-03-02\)",
    ),
    "onset": (changed(1, "onsetDateTime", "spring 2020"), r"field entry\[1\]\.onsetDateTime: .*no FHIR date"),
    "effective": (changed(2, "effectiveDateTime", 20200320), r"field entry\[2\]\.effectiveDateTime: .*no FHIR date"),
    "unknown gender": (changed(0, "gender", "w"), r"field entry\[0\]\.gender: none of female, male, other \(w\)"),
    "unknown patient": (
        changed(1, "subject.reference", "Patient/z"),
        r"field entry\[1\]\.subject: refers to no patient of the export \(Patient/z\)",
    ),
    "no reference": (changed(2, "subject", None), r"field entry\[2\]\.subject: refers to no patient"),
    "other unit": (
        changed(2, "valueQuantity.code", "ukat/L"),
        r"field entry\[2\]\.valueQuantity\.unit: unit is not the declared 'U/L' \(ukat/L\)",
    ),
    "no unit": (changed(2, "valueQuantity.code", None), r"valueQuantity\.unit: unit is not the declared 'U/L' \(1\)"),
    "number as text": (changed(2, "valueQuantity.value", "300"), r"field entry\[2\]\.valueQuantity\.value: .*number"),
    "bound": (changed(2, "valueQuantity.comparator", "<"), r"valueQuantity\.comparator: a bound, no value \(<300"),
    "two values in one": (
        changed(2, "valueString", "high"),
        r"field entry\[2\]\.value\[x\]: two values \(valueQuantity and valueString\)",
    ),
    "two deaths in one": (
        text(bundle([patient("a", "1950", "male", deceasedBoolean=True, deceasedDateTime="2020"), *BASE[1:]])),
        r"field entry\[0\]\.deceased\[x\]: two values",
    ),
    "two values at once": (
        added(ldh("a", 310, "2020-03-20")),
        r"field entry\[4\]\.value\[x\]: two values at 2020-03-20T00:00:00, the other 300",
    ),
    "undated among several": (added(ldh("a", 310, None)), r"entry\[4\]\.effectiveDateTime: one of several .* no date"),
    "another kind of value": (
        added(observation("a", LDH, "2020-04-01", valueRatio={"numerator": {"value": 1}})),
        r"field entry\[4\]\.valueRatio: a kind of value that is not read",
    ),
    "code for a quantity": (
        added(observation("a", LDH, "2020-04-01", valueString="high")),
        r"field entry\[4\]\.value\[x\]: no quantity where a unit is declared",
    ),
    "quantity for a code": (
        added(observation("a", IDH, "2020-04-01", valueQuantity={"value": 3})),
        r"field entry\[4\]\.valueQuantity: a quantity where codes are declared",
    ),
    "unknown code": (
        added(observation("a", IDH, "2020-04-01", valueCodeableConcept=concept("http://loinc.org|LA6577-8"))),
        r"field entry\[4\]\.valueCodeableConcept: none of LA6576-8, wild type \(urn:local\|x, http:",
    ),
    "key twice": (
        text('{"resourceType": "Bundle", "resourceType": "Patient"}'),
        r"all\.json: no JSON .key 'resourceType' stands twice",
    ),
    "line cut off": (
        lambda folder: (folder / "all.ndjson").write_text(json.dumps(BASE[0]) + '\n{"resourceType'),
        r"all\.ndjson: row 2: no JSON",
    ),
    "line a number": (lines(BASE[0], 3), r"all\.ndjson: row 2, field resourceType: no resource type"),
    "Bundle as lines": (
        lambda folder: (folder / "all.ndjson").write_text(json.dumps(json.loads(bundle(BASE)), indent=1)),
        r"all\.ndjson: row 1: no JSON",
    ),
    "line of nobody": (lines(BASE[0], ldh("z", 1, "2020")), r"all\.ndjson: row 2, field subject: refers to no patient"),
}
USED = {name: COLUMNS[name] for name in ("age", "sex", "ldh", "idh")}


@pytest.mark.parametrize(("build", "line"), CORRUPT.values(), ids=CORRUPT)
def test_a_damaged_export_is_refused_in_one_line(tmp_path: Path, build: Callable[[Path], object], line: str) -> None:
    build(tmp_path)
    files = "*.json" if (tmp_path / "a.json").exists() else "all*"
    source = FhirSource.model_validate({"files": files, "index": GLIOMA, "columns": USED})
    with pytest.raises(DataError, match=line) as caught:
        read_fhir(tmp_path, source)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


IDENTIFIERS: dict[str, tuple[list[Any], str]] = {
    "none": ([{"system": "urn:other", "value": "3"}], r"entry\[0\]\.identifier: no identifier of system urn:hospital"),
    "two": (
        [{"system": NUMBER, "value": "3"}, {"system": NUMBER, "value": "4"}],
        r"entry\[0\]\.identifier: 2 identifiers .* \(3, 4\)",
    ),
    "another's": (
        [{"system": NUMBER, "value": "N-b"}],
        r"entry\[1\]\.identifier: patient stands in all\.json, entry 0",
    ),
}


@pytest.mark.parametrize(("identifier", "line"), IDENTIFIERS.values(), ids=IDENTIFIERS)
def test_a_patient_has_one_identifier_of_their_own(tmp_path: Path, identifier: list[Any], line: str) -> None:
    people = [patient("a", "1950", "female", identifier=identifier), patient("b", "1960", "male")]
    (tmp_path / "all.json").write_text(bundle(people))
    source = FhirSource.model_validate({"files": "*.json", "identifier": NUMBER, "columns": {"sex": COLUMNS["sex"]}})
    with pytest.raises(DataError, match=line):
        read_fhir(tmp_path, source)


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
