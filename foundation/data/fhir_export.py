"""A hospital's FHIR export: Bundles and bulk NDJSON, read into resources that know where they stand."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from foundation.data.fhir_resources import Condition, Observation, Patient
from foundation.data.problems import DataError, refuse
from foundation.data.table_files import read_bytes, read_json

SUFFIXES = (".json", ".ndjson", ".jsonl")
_CHOICES = {
    "value": ("valueQuantity", "valueCodeableConcept", "valueInteger", "valueString", "valueBoolean"),
    "deceased": ("deceasedBoolean", "deceasedDateTime"),
}
_RETRACTED = {"entered-in-error", "refuted", "cancelled", "differential"}  # a differential diagnosis is one of several
_MODELS: dict[str, TypeAdapter[Any]] = {
    "Patient": TypeAdapter(Patient),
    "Condition": TypeAdapter(Condition),
    "Observation": TypeAdapter(Observation),
}
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Located(Generic[Kind]):
    """A resource and where it stands: the entry of a Bundle, or the line of an NDJSON file."""

    resource: Kind
    path: Path
    entry: int | None
    row: int | None

    def refuse(self, finding: str, advice: str, name: str, value: Any = None) -> DataError:
        """What is wrong with it, to be raised."""
        place = name if self.entry is None else f"entry[{self.entry}].{name}"
        return refuse(self.path, finding, advice, field=place, row=self.row, value=value)


@dataclass
class Export:
    """One hospital's resources.

    Attributes:
        patients: by resource id.
        conditions: by the patient's resource id; refuted and retracted ones are left out.
        observations: likewise.
        left: what was read and left out, and how often.
    """

    patients: dict[str, Located[Patient]] = field(default_factory=dict)
    conditions: dict[str, list[Located[Condition]]] = field(default_factory=dict)
    observations: dict[str, list[Located[Observation]]] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)


def read_export(folder: Path, files: str, codes: set[str] | None = None) -> Export:
    """The resources of all files of a hospital.

    Args:
        folder: the hospital's.
        files: a glob; `.json` holds a Bundle or one resource, `.ndjson` or `.jsonl` a resource a line, each also with
            `.gz`.
        codes: `system|code` of the Conditions and Observations that are kept; all if None, and then without values.

    Raises:
        DataError: naming the file and the entry (or line), if something is no FHIR, refers to nobody, or stands twice.
    """
    resources = (each for path in _find(folder, files) for each in _resources(path))
    return gather(resources, folder / files, codes)


def gather(resources: Iterable[tuple[Located[Any], str]], where: Path, codes: set[str] | None = None) -> Export:
    """Resources as an export.

    Args:
        resources: each as it was read, and its full URL.
        where: they come from.
        codes: see `read_export`.

    Raises:
        DataError: likewise.
    """
    export = Export()
    names: dict[str, str] = {}
    kinds: dict[str, str] = {}
    others: list[tuple[str, Located[Any]]] = []
    for raw, url in resources:
        kind = resource_type(raw)
        if kind in ("Condition", "Observation") and codes is not None and not wanted(raw.resource, codes):
            continue
        if kind not in _MODELS:
            kinds[url] = kind
            continue
        if codes is None:
            raw = _without_values(raw, export)
        located = _validate(raw, _MODELS[kind])
        if kind == "Patient":
            _register(export, names, located, url)
        else:
            others.append((kind, located))
    if not export.patients:
        raise refuse(where, "no Patient among the resources", "export the patients too")
    merged = _merged(export, names)
    for kind, located in others:
        patient = names.get(target(located.resource.subject.reference))
        if patient is None and (subject := _other_subject(located.resource, kinds, codes is None)):
            export.left[f"{kind}s of a {subject}, no Patient"] += 1
            continue
        if patient is None:
            value = located.resource.subject.reference
            raise located.refuse("refers to no patient of the export", "export that patient too", "subject", value)
        if not _retracted(located.resource):
            by_patient: dict[str, list[Any]] = export.conditions if kind == "Condition" else export.observations
            by_patient.setdefault(merged.get(patient, patient), []).append(located)
    return export


def _merged(export: Export, names: dict[str, str]) -> dict[str, str]:
    """Patients whose resource another one replaces → that one; they are taken out of the export.

    Raises:
        DataError: if resources replace each other in a circle.
    """
    successors: dict[str, str] = {}
    for key, located in export.patients.items():
        for link in located.resource.link:
            other = names.get(target(link.other.reference))
            if other is not None and other != key and link.type in ("replaced-by", "replaces"):
                old, new = (key, other) if link.type == "replaced-by" else (other, key)
                successors[old] = new
    merged = {}
    for old in successors:
        chain = [old]
        while chain[-1] in successors:
            chain.append(successors[chain[-1]])
            if len(chain) > len(successors) + 1:
                raise export.patients[old].refuse("replaced by one that it replaces", "mend the links", "link", old)
        merged[old] = chain[-1]
    for old in merged:
        del export.patients[old]
        export.left["Patients that another resource replaces, read as that one"] += 1
    return merged


def _other_subject(resource: Condition | Observation, kinds: dict[str, str], unread: bool) -> str:
    """The kind of a subject that is no patient; empty if it may be one, as an observation's that a column reads."""
    reference = resource.subject.reference
    if not reference and isinstance(resource, Observation) and unread:
        return "subject not given"
    match = re.search(r"(?:^|/)([A-Z][A-Za-z]+)/[A-Za-z0-9.-]+$", _without_version(reference))
    kind = kinds.get(reference) or (match.group(1) if match else "")
    return "" if kind == "Patient" else kind


def _without_values(raw: Located[Any], export: Export) -> Located[Any]:
    """A resource of which only who and when is asked; values of kinds that nobody reads are counted."""
    for name in raw.resource:
        if name.startswith("value") and name not in _CHOICES["value"]:
            export.left[f"Observations with {name}, a kind of value that no column reads"] += 1
    kept = {name: part for name, part in raw.resource.items() if not name.startswith("value") and name != "component"}
    return replace(raw, resource=kept)


def _find(folder: Path, files: str) -> list[Path]:
    paths = sorted(path for path in folder.glob(files) if path.is_file())
    if not paths:
        raise refuse(folder / files, "no such file", "put the export there, or mend `files` in the declaration")
    for path in paths:
        if not path.name.lower().removesuffix(".gz").endswith(SUFFIXES):
            raise refuse(path, "no FHIR JSON by its name", f"export {' or '.join(SUFFIXES)}, or narrow `files`")
    return paths


def _resources(path: Path) -> Iterator[tuple[Located[Any], str]]:
    """Each of a file as it was read, and its full URL."""
    text = read_bytes(path).decode("utf-8")
    if not path.name.lower().removesuffix(".gz").endswith(".json"):
        for row, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield Located(read_json(path, line, row), path, None, row), ""
        return
    yield from bundle_resources(read_json(path, text), path)


def bundle_resources(bundle: Any, path: Path) -> Iterator[tuple[Located[Any], str]]:
    """Each of a Bundle as it was read, and its full URL; a resource that stands alone is its own.

    Args:
        bundle: decoded from JSON.
        path: of its file, for errors.

    Raises:
        DataError: naming the entry, if it is none.
    """
    kind = bundle.get("resourceType") if isinstance(bundle, dict) else type(bundle).__name__
    if kind in _MODELS or (isinstance(bundle, dict) and kind not in ("Bundle", "OperationOutcome", None, "")):
        yield Located(bundle, path, None, None), ""
        return
    if kind == "OperationOutcome":
        raise refuse(path, "a server's error report", "repeat the export", field="resourceType", value=kind)
    if kind != "Bundle":
        advice = "export a Bundle, or a resource a line as .ndjson"
        raise refuse(path, "no Bundle", advice, field="resourceType", value=kind)
    entries = bundle.get("entry")
    if not isinstance(entries, list) or not entries:
        raise refuse(path, "a Bundle without entries", "repeat the export, or remove the file", field="entry")
    for index, entry in enumerate(entries):
        located = Located(entry, path, index, None)
        if not isinstance(entry, dict) or "resource" not in entry:
            raise located.refuse("no resource", "export entries with their resources", "resource", entry)
        yield replace(located, resource=entry["resource"]), str(entry.get("fullUrl", ""))


def resource_type(raw: Located[Any]) -> str:
    """Of a resource as it was read.

    Raises:
        DataError: if it has none.
    """
    kind = raw.resource.get("resourceType") if isinstance(raw.resource, dict) else None
    if not isinstance(kind, str) or not kind:
        raise raw.refuse("no resource type", "every resource needs it", "resourceType", raw.resource)
    if kind not in _MODELS and kind.lower() in (name.lower() for name in _MODELS):
        raise raw.refuse("no FHIR resource type", f"write {kind.capitalize()}", "resourceType", kind)
    return kind


def wanted(content: dict[str, Any], codes: set[str]) -> bool:
    """Whether a resource, or a component of it, has one of the codes (`system|code`)."""
    components = content.get("component")
    each = [content, *(components if isinstance(components, list) else ())]
    concepts = [one.get("code") for one in each if isinstance(one, dict)]
    codings = [concept.get("coding") for concept in concepts if isinstance(concept, dict)]
    parts = [part for coding in codings if isinstance(coding, list) for part in coding if isinstance(part, dict)]
    return any(f"{part.get('system', '')}|{part.get('code', '')}" in codes for part in parts)


def validated(raw: Located[Any], kind: str) -> Located[Any]:
    """A resource's content as the model of its kind.

    Raises:
        DataError: naming what of it is wrong.
    """
    return _validate(raw, _MODELS[kind])


def _validate(raw: Located[Any], model: TypeAdapter[Any]) -> Located[Any]:
    for choice, names in _CHOICES.items():
        choices = [name for name in raw.resource if name.startswith(choice)]
        if len(choices) > 1:
            raise raw.refuse(f"two values ({' and '.join(choices)})", "FHIR allows one", f"{choice}[x]")
        if choices and choices[0] not in names:
            raise raw.refuse("a kind of value that is not read", f"give {', '.join(names)}", choices[0])
    try:
        return replace(raw, resource=model.validate_python(raw.resource))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise raw.refuse(first["msg"], "mend it where it was exported", name, first["input"]) from error


def _register(export: Export, names: dict[str, str], located: Located[Patient], url: str) -> None:
    """Notes a patient, and the names under which others refer to them."""
    identity = located.resource.id or url
    if not identity:
        raise located.refuse("neither id nor fullUrl", "nobody can refer to this patient; export with ids", "id")
    known = export.patients.setdefault(identity, located)
    if known.resource != located.resource:
        raise located.refuse(f"another patient of this id is in {known.path.name}", "keep one", "id", identity)
    for name in (f"Patient/{identity}", url) if url else (f"Patient/{identity}",):
        if names.setdefault(name, identity) != identity:
            raise located.refuse("this URL names two patients", "give each its own", "fullUrl", url)


def target(reference: str) -> str:
    """Whom a reference names: `https://server/fhir/Patient/7/_history/2` → `Patient/7`; `urn:uuid:…` as it is."""
    *_, kind, name = ["", *_without_version(reference).rsplit("/", 2)]
    return f"Patient/{name}" if kind == "Patient" and name else reference


def _without_version(reference: str) -> str:
    """Cut at the version before any pattern is tried: over one repeated in a reference it would take hours."""
    return reference.partition("/_history/")[0]


def _retracted(resource: Condition | Observation) -> bool:
    if isinstance(resource, Observation):
        return resource.status in _RETRACTED
    return any(coding.code in _RETRACTED for coding in resource.verification_status.coding)
