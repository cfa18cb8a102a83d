"""An answer as FHIR R4: RiskAssessment, DiagnosticReport and Provenance about the patient of the Bundle that was sent.

Source: HL7 FHIR R4 (4.0.1), https://hl7.org/fhir/R4/riskassessment.html and provenance.html.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from serve.fhir.reading import Reading
from serve.findings import RESEARCH, Finding, findings, notes, sentence
from serve.schema import Response

_AGENT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_REQUEST_ID = "urn:consilium:request"
_DIGEST = "urn:consilium:sha256"


def write_bundle(response: Response, reading: Reading, now: datetime | None = None) -> dict[str, Any]:
    """The answer as a Bundle.

    Where the model abstains, nothing is predicted: who reads no note must not find a number.

    Args:
        response: about the request that was read.
        reading: of the Bundle that was sent.
        now: with its zone; the clock's if None.
    """
    time = (now or datetime.now(UTC)).isoformat(timespec="milliseconds")
    names = {
        kind: f"urn:uuid:{uuid.uuid4()}" for kind in ("Device", "RiskAssessment", "DiagnosticReport", "Provenance")
    }
    resources = {
        "Device": _device(response),
        "RiskAssessment": _assessment(response, reading, time, names),
        "DiagnosticReport": _report(response, reading, time),
        "Provenance": _provenance(response, reading, time, names),
    }
    entries = [{"fullUrl": names[kind], "resource": {"resourceType": kind, **resources[kind]}} for kind in names]
    identifier = {"system": _REQUEST_ID, "value": response.request_id}
    return {
        "resourceType": "Bundle",
        "identifier": identifier,
        "type": "collection",
        "timestamp": time,
        "entry": entries,
    }


def _device(response: Response) -> dict[str, Any]:
    return {
        "deviceName": [{"name": response.model, "type": "model-name"}],
        "version": [{"value": response.version}, {"value": f"consilium {response.release}"}],
        "note": [{"text": RESEARCH}],
    }


def _assessment(response: Response, reading: Reading, time: str, names: Mapping[str, str]) -> dict[str, Any]:
    predictions = [_prediction(one) for one in findings(response)]
    return {
        "identifier": [{"system": _REQUEST_ID, "value": response.request_id}],
        "status": "final",
        "method": {"text": f"{response.model} {response.version}"},
        "code": {"text": response.task},
        "subject": reading.subject,
        "occurrenceDateTime": time,
        "performer": {"reference": names["Device"]},
        "basis": [{"reference": name} for name in reading.basis],
        **({"prediction": predictions} if predictions else {}),
        "note": [{"text": line} for line in notes(response)],
    }


def _prediction(finding: Finding) -> dict[str, Any]:
    """A probability in per cent, as FHIR has it; a group of risk as such."""
    prediction: dict[str, Any] = {"outcome": {"text": finding.outcome}}
    if finding.percent is not None:
        prediction["probabilityDecimal"] = finding.percent
    if finding.group is not None:
        prediction["qualitativeRisk"] = {"text": finding.group}
    return prediction


def _report(response: Response, reading: Reading, time: str) -> dict[str, Any]:
    lines = [sentence(response), *notes(response)]
    return {
        "identifier": [{"system": _REQUEST_ID, "value": response.request_id}],
        "status": "final",
        "code": {"text": f"{response.task}: {response.model} {response.version}"},
        "subject": reading.subject,
        "effectiveDateTime": time,
        "issued": time,
        "conclusion": "\n".join(lines),
    }


def _provenance(response: Response, reading: Reading, time: str, names: Mapping[str, str]) -> dict[str, Any]:
    digests = {
        "the Bundle that was sent": reading.digest,
        "the model's files": response.digests.model,
        "the endpoint's contract": response.digests.contract,
    }
    return {
        "target": [{"reference": names[kind]} for kind in ("RiskAssessment", "DiagnosticReport")],
        "recorded": time,
        "activity": {"text": "prediction"},
        "agent": [
            {
                "type": {"coding": [{"system": _AGENT, "code": "assembler"}]},
                "who": {"reference": names["Device"], "display": f"{response.model} {response.version}"},
            }
        ],
        "entity": [
            {"role": "source", "what": {"identifier": {"system": _DIGEST, "value": digest}, "display": what}}
            for what, digest in digests.items()
        ],
    }
