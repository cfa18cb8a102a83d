"""A call of CDS Hooks as the FHIR Bundle of one patient: of the one whom the call is about, and nobody else.

Source: HL7 CDS Hooks 2.0 (calling a CDS service; patient-view).
"""

import re
import uuid
from collections.abc import Collection, Iterator
from http import HTTPStatus
from typing import Any

from foundation.modalities.request import RequestError, read_object, shown
from serve.hooks.discovery import HOOK
from serve.reading import parse

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")  # of FHIR
_ERRORS = ("fatal", "error")
_PREFETCH = "send what the service's prefetch at /cds-services asks for"


def read_hook(body: Any, asked: Collection[str] = ("patient",)) -> tuple[dict[str, Any], str]:
    """The Bundle that a call's prefetch makes, and the call's `hookInstance`.

    Args:
        body: JSON text.
        asked: names of the prefetch that the service asks for; one of which the record has nothing is null.

    Raises:
        RequestError: with 400 where it is no call of this hook, 412 where the prefetch is missing or in part, 422 where
            it is of another patient than the call.
    """
    call = parse(body)
    if call.get("hook") != HOOK:
        raise _malformed("hook", f"found {shown(call.get('hook'))}", f"call it on {HOOK}")
    instance = str(call.get("hookInstance")).removeprefix("urn:uuid:")
    try:
        uuid.UUID(instance)
    except ValueError as error:
        raise _malformed("hookInstance", "no UUID", "give each call one of its own") from error
    context = call.get("context")
    patient = context.get("patientId") if isinstance(context, dict) else None
    if not isinstance(patient, str) or not _ID.fullmatch(patient):
        raise _malformed("context.patientId", "no id of FHIR", "give the id of the patient whose record is open")
    server = call.get("fhirServer")
    base = server.rstrip("/") if isinstance(server, str) else ""
    prefetch = call.get("prefetch")
    if not prefetch:
        raise _incomplete("prefetch", "missing")
    for query in asked:  # a query that was not made, or failed, says nothing of the patient
        if query not in read_object(prefetch, "prefetch"):
            raise _incomplete(f"prefetch.{query}", "not sent")
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for field, resource, url in _resources(read_object(prefetch, "prefetch")):
        kind, name = str(resource.get("resourceType")), resource.get("id")
        if kind == "Patient" and name != patient:
            raise RequestError(field, "another patient than context.patientId", "send the one whose record is open")
        url = url or (f"{base}/{kind}/{name}" if base and name else "")
        entry = entries.setdefault((kind, url or str(name or field)), {"fullUrl": url, "resource": resource})
        if entry["resource"] != resource:
            raise RequestError(field, "another content than an earlier query's resource of this id", "send it once")
    if not any(kind == "Patient" for kind, _ in entries):
        raise _incomplete("prefetch.patient", "no Patient")
    listed = [{name: value for name, value in entry.items() if value} for entry in entries.values()]
    return {"resourceType": "Bundle", "type": "collection", "entry": listed}, instance


def _resources(prefetch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Each resource with its field and full URL; none of a search that found nothing, or of what it remarks.

    Raises:
        RequestError: of what is no resource, a query that failed, or one page of several: the answer would rest on a
            part.
    """
    for name, value in prefetch.items():
        field = f"prefetch.{name}"
        if value is None:
            continue
        content = read_object(value, field)
        if content.get("resourceType") != "Bundle":
            _check_outcome(content, field)
            yield field, content, ""
            continue
        links = content.get("link") or []
        if any(isinstance(link, dict) and link.get("relation") == "next" for link in links):
            advice = "send all of it, or narrow the search"
            raise RequestError(field, "one page of several", advice, HTTPStatus.PRECONDITION_FAILED)
        for place, entry in enumerate(content.get("entry") or []):
            where = f"{field}.entry[{place}]"
            resource = read_object(read_object(entry, where).get("resource"), f"{where}.resource")
            _check_outcome(resource, where)
            if resource.get("resourceType") != "OperationOutcome":
                yield where, resource, str(entry.get("fullUrl") or "")


def _check_outcome(resource: dict[str, Any], field: str) -> None:
    """Refuses an outcome that tells of an error: records send it in place of what they could not fetch."""
    issues = resource.get("issue") if resource.get("resourceType") == "OperationOutcome" else None
    if any(isinstance(one, dict) and one.get("severity") in _ERRORS for one in issues or []):
        raise _incomplete(field, "the query failed")


def _incomplete(field: str, reason: str) -> RequestError:
    return RequestError(field, reason, _PREFETCH, HTTPStatus.PRECONDITION_FAILED)


def _malformed(field: str, reason: str, remedy: str) -> RequestError:
    return RequestError(field, reason, remedy, HTTPStatus.BAD_REQUEST)
