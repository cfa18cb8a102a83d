"""An answer as FHIR R4: RiskAssessment, DiagnosticReport and Provenance about the patient of the Bundle that was sent.

Source: HL7 FHIR R4 (4.0.1), https://hl7.org/fhir/R4/riskassessment.html and provenance.html.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from serve.fhir.reading import Reading
from serve.schema import Response

_AGENT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_REQUEST_ID = "urn:consilium:request"
_DIGEST = "urn:consilium:sha256"
_PROBABILITIES = {  # of heads, in words
    "probabilities": "{}",
    "labels": "{}",
    "survival": "without the event after {}",
    "event_free": "no event after {}",
}
_DIGITS = 10  # of a percentage: beyond, they are those of its conversion
_RESEARCH = "Research software: not a medical device."


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
        "note": [{"text": _RESEARCH}],
    }


def _assessment(response: Response, reading: Reading, time: str, names: Mapping[str, str]) -> dict[str, Any]:
    predictions = [] if _abstains(response) else list(_predictions(response))
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
        "note": [{"text": line} for line in _notes(response)],
    }


def _predictions(response: Response) -> Iterator[dict[str, Any]]:
    """Each probability in per cent, as FHIR has it; what else the head predicts in words, a group of risk as such."""
    for name, value in response.prediction.items():
        if name == "incidence":
            for cause, chances in value.items():
                yield from _probabilities(f"{cause.replace('_', ' ')} first, within {{}}", chances)
        elif name == "risk_group" and isinstance(value, dict):
            for cause, group in value.items():
                yield {"outcome": {"text": cause.replace("_", " ")}, "qualitativeRisk": {"text": str(group)}}
        elif isinstance(value, dict):
            yield from _probabilities(_PROBABILITIES.get(name, name + " {}"), value)
        elif name == "risk_group":
            yield {"outcome": {"text": response.task}, "qualitativeRisk": {"text": str(value)}}
        else:
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            yield {"outcome": {"text": f"{name.replace('_', ' ')}: {shown}"}}


def _probabilities(words: str, chances: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    for outcome, chance in chances.items():
        percent = round(100 * chance, _DIGITS)
        yield {"outcome": {"text": words.format(outcome.replace("_", " "))}, "probabilityDecimal": percent}


def _report(response: Response, reading: Reading, time: str) -> dict[str, Any]:
    lines = [_sentence(response), *_notes(response)]
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


def _sentence(response: Response) -> str:
    if _abstains(response):
        return "The model abstains."
    parts = []
    for one in _predictions(response):
        number = one.get("probabilityDecimal")
        risk = one.get("qualitativeRisk", {}).get("text")
        value = f": {number:.1f} %" if number is not None else f": {risk}" if risk else ""
        parts.append(one["outcome"]["text"] + value)
    return f"Predicted: {'; '.join(parts)}."


def _notes(response: Response) -> Iterator[str]:
    reliability = response.reliability or {}
    if _abstains(response):
        yield f"The model abstains: {'; '.join(map(str, reliability.get('reasons') or ['not sure enough']))}."
    elif "region" in reliability:
        coverage = reliability.get("coverage")
        yield f"With chance {coverage}, the truth is in {json.dumps(reliability['region'])}."
    for name, score in (reliability.get("out_of_distribution") or {}).items():
        if score is not None:
            yield f"{name}: {score:.2f} out of distribution (above 1: unlike the patients learnt from)."
    parts = [f"{name} ({part.examined} of {part.of} {part.what})" for name, part in response.examined.items()]
    yield f"Rests on {', '.join(parts)}."
    if response.modalities_ignored:
        yield f"Not looked at: {', '.join(response.modalities_ignored)}."
    yield from (f"{line}." for line in response.warnings)
    if response.synthetic:
        yield "The model was trained on synthetic patients alone: no clinical meaning."
    yield _RESEARCH


def _abstains(response: Response) -> bool:
    return bool((response.reliability or {}).get("abstain", False))
