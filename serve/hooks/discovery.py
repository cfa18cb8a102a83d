"""What the endpoint offers by CDS Hooks, and which FHIR resources it asks to be sent with a call.

Source: HL7 CDS Hooks 2.0, https://cds-hooks.hl7.org/2.0/ (discovery, prefetch templates).
"""

from collections.abc import Iterable
from typing import Any

from serve.fhir.declaration import REPORT, FhirDeclaration
from serve.schema import BundleSchema

PATH = "/cds-services"
HOOK = "patient-view"
_PATIENT = "{{context.patientId}}"


def discover(schema: BundleSchema, declaration: FhirDeclaration | None) -> dict[str, Any]:
    """The document of the discovery address; without a service where the bundle declares no FHIR.

    Args:
        schema: of the bundle.
        declaration: of it.
    """
    return {"services": [] if declaration is None else [_service(schema, declaration)]}


def _service(schema: BundleSchema, declaration: FhirDeclaration) -> dict[str, Any]:
    return {
        "hook": HOOK,
        "id": schema.name,
        "title": f"{schema.task} ({schema.name})",
        "description": f"Predicts {schema.task}, says how far to rely on it, and abstains where it is not sure enough. "
        "Research software: not a medical device.",
        "usageRequirements": "Everything that is read must come as prefetch: the service asks no FHIR server.",
        "prefetch": prefetch(schema, declaration),
    }


def prefetch(schema: BundleSchema, declaration: FhirDeclaration) -> dict[str, str]:
    """By name, the queries whose results the declaration reads."""
    columns = declaration.columns.values()
    named = [declaration.index, *(code for one in columns for code in (one.condition, one.at))]
    conditions = {code for code in named if code and "|" in code}  # an age may be at a date, which is no code
    queries = {"patient": f"Patient/{_PATIENT}"}
    if conditions:
        queries["conditions"] = _query("Condition", "code", conditions)
    if observations := {one.observation for one in columns if one.observation}:
        queries["observations"] = _query("Observation", "code", observations)
    if REPORT in schema.modalities:
        queries["reports"] = _query("DiagnosticReport", "code", declaration.reports or [])
    if modalities := {code for codes in declaration.images.values() for code in codes}:
        queries["media"] = _query("Media", "modality", modalities)
    return queries


def _query(kind: str, parameter: str, codes: Iterable[str]) -> str:
    which = ",".join(sorted(codes))
    return f"{kind}?patient={_PATIENT}" + (f"&{parameter}={which}" if which else "")
