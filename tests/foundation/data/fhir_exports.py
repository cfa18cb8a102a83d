"""FHIR exports for tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def bundle(resources: list[Any]) -> str:
    named = [one["id"] if isinstance(one, dict) and "id" in one else str(index) for index, one in enumerate(resources)]
    entries = [{"fullUrl": f"urn:uuid:{name}", "resource": one} for name, one in zip(named, resources, strict=True)]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})


def text(content: str, name: str = "all.json") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def lines(*resources: Any) -> Callable[[Path], object]:
    return text("\n".join(json.dumps(resource) for resource in resources), "all.ndjson")
