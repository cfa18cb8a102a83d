"""A FHIR Bundle of one patient as a request, by the reader of preparation; what is not read is told."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from foundation.data import fhir
from foundation.data.fhir_export import Export, Located, bundle_resources, gather, resource_type, target, wanted
from foundation.data.plain_values import plain_values
from foundation.data.problems import DataError, refuse_invalid
from foundation.modalities.request import RequestError
from serve.fhir.declaration import RECORD, REPORT, FhirDeclaration
from serve.fhir.resources import BINARY, MEDIA, Attachment, DiagnosticReport, Media
from serve.fhir.resources import REPORT as DIAGNOSTIC_REPORT
from serve.reading import parse
from serve.schema import BundleSchema

_BUNDLE = Path("bundle")
_MEND = "mend it where it was exported"
_RETRACTED = {"entered-in-error", "cancelled", "not-done"}
_PICTURES = ("image/png", "image/jpeg", "image/jpg")
_RECORDS = ("Condition", "Observation")
_SHOWN = 8  # kinds of resources that one line names


@dataclass
class Reading:
    """What a Bundle says.

    Attributes:
        request: by modality, as the endpoint takes it.
        subject: the reference by which answers name the patient.
        basis: references to the resources that were read.
        warnings: what was left out, one line each.
        digest: SHA-256 of the body.
    """

    request: dict[str, Any]
    subject: dict[str, Any]
    basis: list[str]
    warnings: list[str]
    digest: str


@dataclass
class _Bundle:
    """A Bundle while it is read."""

    each: list[tuple[str, Located[Any], str]]  # kind, resource, full URL
    patients: set[str]  # names by which others refer to the patient
    servers: set[str]  # that the patient is of, where the Bundle says so
    basis: dict[str, None] = field(default_factory=dict)  # in order
    ignored: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    def read_from(self, raw: Located[Any], url: str, kind: str) -> None:
        self.basis[_name(kind, raw, url)] = None

    def model(self, adapter: TypeAdapter[Any], raw: Located[Any]) -> Any:
        try:
            return adapter.validate_python(raw.resource)
        except ValidationError as error:
            raise refuse_invalid(raw.path, error, _MEND, f"entry[{raw.entry}]") from error

    def check_subject(self, raw: Located[Any], url: str, reference: str) -> None:
        """Whose it is must be said: another's picture is nobody's guess, nor is who has the same id elsewhere."""
        finding = ""
        if target(reference) not in self.patients:
            finding = "refers to no Patient of the Bundle" if reference else "does not say whose it is"
        elif reference not in self.patients or reference.startswith("Patient/"):
            server = _server(reference) or _server(url)  # a relative reference is of the server of its resource
            if server and server not in self.servers:  # a Patient that says no server is nobody's of any
                finding = "refers to a Patient of another server"
        if finding:
            raise raw.refuse(finding, "refer to the Patient by its fullUrl", "subject.reference", reference)


def read_bundle(body: Any, declaration: FhirDeclaration, schema: BundleSchema) -> Reading:
    """One patient from a Bundle.

    Args:
        body: JSON text.
        declaration: of the served bundle.
        schema: likewise.

    Raises:
        RequestError: naming entry and field, if it is no Bundle of one patient, or what is declared cannot be read.
    """
    content = parse(body)
    if content.get("resourceType") != "Bundle":
        raise RequestError("resourceType", "no Bundle", "send a FHIR R4 Bundle with the Patient and what is known")
    try:
        return _read(content, declaration, schema, body)
    except DataError as error:
        problem = error.problem
        value = f" ({problem.value})" if problem.value else ""
        raise RequestError(problem.field or "bundle", f"{problem.finding}{value}", problem.advice) from error


def _read(content: dict[str, Any], declaration: FhirDeclaration, schema: BundleSchema, body: Any) -> Reading:
    each = [(resource_type(raw), raw, url) for raw, url in bundle_resources(content, _BUNDLE)]
    codes = fhir.declared_codes(declaration.source)
    export = gather(((raw, url) for _, raw, url in each), _BUNDLE, codes)
    if len(export.patients) > 1:
        advice = "send each patient in a Bundle of their own"
        raise RequestError("entry", f"{len(export.patients)} Patients", advice)
    people = [(raw, url) for kind, raw, url in each if kind == "Patient"]
    names = {f"Patient/{raw.resource['id']}" for raw, _ in people if raw.resource.get("id")}
    names |= {url for _, url in people if url}
    bundle = _Bundle(each, names, {_server(url) for _, url in people} - {""})
    request: dict[str, Any] = {}
    record = _record(bundle, export, declaration, schema, codes)
    if record:
        request[RECORD] = record
    text = _report(bundle, declaration) if REPORT in schema.modalities else ""
    if text:
        request[REPORT] = text
    request |= _images(bundle, declaration)
    _count_others(bundle, schema)
    if not request:
        reason = "nothing in it that the model takes"
        raise RequestError("bundle", reason, f"it takes {', '.join(schema.modalities)}; {_told(bundle.ignored)}")
    warnings = [*bundle.lines, *([f"not read: {_told(bundle.ignored)}"] if bundle.ignored else [])]
    digest = hashlib.sha256(body if isinstance(body, bytes | bytearray) else str(body).encode()).hexdigest()
    return Reading(request, _subject(export, declaration, people), list(bundle.basis), warnings, digest)


def _record(
    bundle: _Bundle, export: Export, declaration: FhirDeclaration, schema: BundleSchema, codes: set[str]
) -> dict[str, Any]:
    """The record's columns that the Bundle tells of."""
    form: Any = schema.modalities.get(RECORD)
    if form is None or not declaration.columns:
        bundle.ignored.update(f"{kind}s" for kind, _, _ in bundle.each if kind in _RECORDS)
        return {}
    both = (export.conditions, export.observations)
    located: list[Located[Any]] = [one for by_patient in both for listed in by_patient.values() for one in listed]
    kept = {one.entry: one.resource.subject.reference for one in located}
    coded = 0
    for kind, raw, url in bundle.each:
        if raw.entry in kept:
            bundle.check_subject(raw, url, kept[raw.entry])
        if kind == "Patient" or raw.entry in kept:
            bundle.read_from(raw, url, kind)
        if kind in _RECORDS:
            coded += wanted(raw.resource, codes)
            bundle.ignored[f"{kind}s of codes that no column has"] += not wanted(raw.resource, codes)
    bundle.ignored.update(export.left)
    left = sum(count for what, count in export.left.items() if not what.startswith("Patient"))
    bundle.ignored.update({"Conditions or Observations refuted or retracted": coded - left - len(kept)})
    bundle.ignored = +bundle.ignored  # without what none was left out of
    frame = fhir.record_of(export, declaration.source)
    row = plain_values(frame, form.columns, pd.Index(frame.index)).iloc[0].to_dict()
    missing = sorted(name for name in declaration.columns if row.get(name) is None)
    if missing:
        bundle.lines.append(f"{RECORD}: the Bundle tells nothing of {', '.join(missing)}")
    return {name: value for name, value in row.items() if value is not None}


def _report(bundle: _Bundle, declaration: FhirDeclaration) -> str:
    """The text of the reports, the earliest first."""
    texts: list[tuple[datetime | None, Located[Any], str]] = []
    for raw, url, report in _reports(bundle, declaration):
        bundle.check_subject(raw, url, report.subject.reference)
        try:
            text = report.text()
        except ValueError as error:
            raise raw.refuse(str(error), _MEND, "presentedForm") from error
        if not text:
            bundle.ignored["DiagnosticReports without plain text or conclusion"] += 1
            continue
        bundle.read_from(raw, url, "DiagnosticReport")
        texts.append((report.date, raw, text))
    if len(texts) > 1:
        for date, raw, _ in texts:
            if date is None:
                raise raw.refuse("one of several reports has no date", "give it one", "effectiveDateTime")
    return "\n\n".join(text for _, _, text in sorted(texts, key=lambda one: one[0] or datetime.min))


def _reports(bundle: _Bundle, declaration: FhirDeclaration) -> list[tuple[Located[Any], str, DiagnosticReport]]:
    reports = []
    for kind, raw, url in bundle.each:
        if kind != "DiagnosticReport":
            continue
        report: DiagnosticReport = bundle.model(DIAGNOSTIC_REPORT, raw)
        if report.status in _RETRACTED:
            bundle.ignored[f"DiagnosticReports {report.status}"] += 1
        elif declaration.reports is not None and not set(declaration.reports) & set(report.code.codes):
            bundle.ignored["DiagnosticReports of codes that are not declared"] += 1
        else:
            reports.append((raw, url, report))
    return reports


def _images(bundle: _Bundle, declaration: FhirDeclaration) -> dict[str, list[str]]:
    """By modality, the pictures of Media, here or in a Binary of the Bundle."""
    images: dict[str, list[str]] = {}
    binaries: dict[str, tuple[Located[Any], str]] = {}
    for kind, raw, url in bundle.each:
        if kind == "Binary":
            binaries |= {name: (raw, url) for name in (url, f"Binary/{raw.resource.get('id')}") if name}
    for kind, raw, url in bundle.each:
        if kind != "Media":
            continue
        media: Media = bundle.model(MEDIA, raw)
        codes = set(media.modality.codes)
        belongs = [name for name, declared in declaration.images.items() if codes & set(declared)]
        if media.status in _RETRACTED:
            bundle.ignored[f"Media {media.status}"] += 1
        elif not belongs:
            bundle.ignored["Media of a modality that is not declared"] += 1
        elif (data := _picture(bundle, media.content, binaries)) is not None:
            bundle.check_subject(raw, url, media.subject.reference)
            bundle.read_from(raw, url, "Media")
            images.setdefault(belongs[0], []).append(data)
    return images


def _picture(bundle: _Bundle, content: Attachment, binaries: Mapping[str, tuple[Located[Any], str]]) -> str | None:
    """Base64 of a picture; None where it is another kind, or not in the Bundle."""
    if content.kind not in _PICTURES:
        bundle.ignored[f"Media of {content.kind or 'no content type'}"] += 1
        return None
    if content.data is not None:
        return content.data
    if content.url is None or content.url not in binaries:
        bundle.ignored["Media whose picture is not in the Bundle"] += 1
        return None
    raw, url = binaries[content.url]
    bundle.read_from(raw, url, "Binary")
    data: str | None = bundle.model(BINARY, raw).data
    if data is None:
        raise raw.refuse("without data", "send the picture, or leave the Media out", "data")
    return data


def _count_others(bundle: _Bundle, schema: BundleSchema) -> None:
    looked_at = {"Patient", "Media", *_RECORDS} | ({"DiagnosticReport"} if REPORT in schema.modalities else set())
    for kind, raw, url in bundle.each:
        if kind not in looked_at and _name(kind, raw, url) not in bundle.basis:
            bundle.ignored[f"{kind} resources"] += 1


def _subject(export: Export, declaration: FhirDeclaration, people: list[tuple[Located[Any], str]]) -> dict[str, Any]:
    """The patient as the Bundle calls them; of two resources, the one that replaces the other."""
    ((key, located),) = export.patients.items()
    patient = located.resource
    url = next((url for raw, url in people if raw.entry == located.entry), "")
    subject: dict[str, Any] = {"reference": f"Patient/{patient.id}" if patient.id else url or key}
    numbers = [one for one in patient.identifier if one.system == declaration.identifier and one.value]
    if len(numbers) == 1:
        subject["identifier"] = {"system": numbers[0].system, "value": numbers[0].value}
    return subject


def _server(url: str) -> str:
    """That a resource's URL is of, by whatever scheme; empty where it is of none, as `urn:uuid:…` and `Patient/7`."""
    scheme, _, rest = url.partition("/_history/")[0].partition("://")
    parts = rest.rsplit("/", 2)
    return parts[0] if scheme in ("http", "https") and len(parts) == 3 else ""


def _name(kind: str, raw: Located[Any], url: str) -> str:
    """How others refer to a resource."""
    return url or f"{kind}/{raw.resource.get('id', '')}"


def _told(ignored: Counter[str]) -> str:
    parts = [f"{count} {what}" for what, count in ignored.most_common(_SHOWN)]
    more = sum(count for _, count in ignored.most_common()[_SHOWN:])
    return ", ".join([*parts, *([f"{more} others"] if more else [])]) or "the Bundle has none of it"
