"""Damaged exports of FHIR, each refused in one line."""

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.data.fhir import read_fhir
from foundation.data.fhir_source import FhirSource
from foundation.data.problems import DataError
from tests.foundation.data.fhir_exports import (
    COLUMNS,
    GLIOMA,
    IDH,
    LDH,
    NUMBER,
    bundle,
    concept,
    condition,
    ldh,
    lines,
    observation,
    patient,
    text,
)

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


def two_files(folder: Path) -> None:
    (folder / "a.json").write_text(bundle(BASE))
    (folder / "all.json").write_text(bundle([patient("a", "1951", "female")]))


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
