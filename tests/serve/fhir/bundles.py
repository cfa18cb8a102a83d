"""FHIR Bundles of one patient for tests, and the declaration by which they are read."""

import base64
import json
from typing import Any

from serve.fhir.declaration import FhirDeclaration
from tests.foundation.data.fhir_exports import GLIOMA, LDH, NUMBER, concept, condition, ldh, observation, patient

GRADE, PATHOLOGY, RADIOLOGY = "urn:lab|grade", "urn:dcm|SM", "urn:dcm|MR"
REPORT = "http://loinc.org|22637-3"
COLUMNS = {
    "age": {"path": "patient.age_at"},
    "sex": {"path": "patient.gender", "values": {"female": "F", "male": "M"}},
    "grade": {"observation": GRADE, "values": {"low": "G1", "high": "G3"}},
    "ldh": {"observation": LDH, "unit": "U/L", "pick": "last"},
}
DECLARATION = FhirDeclaration.model_validate(
    {
        "identifier": NUMBER,
        "index": GLIOMA,
        "columns": COLUMNS,
        "reports": [REPORT],
        "images": {"pathology": [PATHOLOGY], "radiology": [RADIOLOGY]},
    }
)


def report(name: str, text: str | None, when: str | None = None, **more: Any) -> dict[str, Any]:
    forms = [] if text is None else [{"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}]
    date = {} if when is None else {"effectiveDateTime": when}
    content = {"status": "final", "code": concept(REPORT), "subject": {"reference": f"Patient/{name}"}, **date}
    return {"resourceType": "DiagnosticReport", **content, "presentedForm": forms, **more}


def media(name: str, modality: str, **content: Any) -> dict[str, Any]:
    subject = {"reference": f"Patient/{name}"}
    return {
        "resourceType": "Media",
        "status": "completed",
        "subject": subject,
        "modality": concept(modality),
        "content": {"contentType": "image/png", **content},
    }


def whole(picture: str) -> list[dict[str, Any]]:
    """A patient who has everything, and what nobody reads; LDH was measured twice."""
    return [
        patient("a", "1960-03-01", "female"),
        condition("a", GLIOMA, "2020-03-01"),
        ldh("a", 210.5, "2020-03-02"),
        ldh("a", 240, "2020-04-02"),
        ldh("a", 999, "2021-04-02") | {"status": "entered-in-error"},
        observation("a", GRADE, "2020-03-02", valueString="high"),
        observation("a", "urn:lab|other", "2020-03-02", valueString="never read"),
        report("a", "Atypia.", "2020-04-01"),
        report("a", None, "2020-03-01", conclusion="Diffuse glioma."),
        media("a", PATHOLOGY, data=picture),
        media("a", RADIOLOGY, url="Binary/scan"),
        {"resourceType": "Binary", "id": "scan", "contentType": "image/png", "data": picture},
        {"resourceType": "ImagingStudy", "status": "available", "subject": {"reference": "Patient/a"}},
    ]


def body(resources: list[Any]) -> bytes:
    entries = [{"fullUrl": f"urn:uuid:{place}", "resource": one} for place, one in enumerate(resources)]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()
