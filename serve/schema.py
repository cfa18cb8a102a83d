"""The schema of a served model: its bundle, the request and the response."""

import hashlib
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidationError, field_validator

from foundation.errors import UserError
from foundation.modalities.request import RequestError, RequestForm, any_of, read_form, unknown_field
from serve.manifest import model_digest
from serve.reading import parse

FILE = "schema.json"


class BundleSchema(BaseModel):
    """`schema.json` of a bundle.

    Attributes:
        format: of the bundle; this release reads 3.
        name: of the model, as the endpoint knows it.
        version: the head of the digest of all that the model is made of and of this schema; see `version_of`.
        task: name of the task.
        prediction: JSON Schema of what the task's head answers.
        reliability: JSON Schema of what is said beside it; None where nothing is.
        synthetic: whether the model was trained on synthetic patients alone.
        modalities: by name, what a request may hold.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[3] = 3
    name: str
    version: str
    task: str
    prediction: dict[str, Any]
    reliability: dict[str, Any] | None = None
    synthetic: bool
    modalities: dict[str, SerializeAsAny[RequestForm]]

    @field_validator("modalities", mode="before")
    @classmethod
    def _forms(cls, modalities: Any) -> Any:
        if not isinstance(modalities, dict):
            return modalities
        return {name: _form(str(name), content) for name, content in modalities.items()}

    @classmethod
    def load(cls, folder: Path) -> "BundleSchema":
        """Reads the schema of a bundle.

        Raises:
            UserError: if the folder is no bundle that this release reads.
        """
        path = folder / FILE
        if not path.is_file():
            raise UserError(f"{folder}: no {FILE}, so it is no bundle; give the `bundle` folder of serve.export")
        try:
            return cls.model_validate_json(path.read_text())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}: field {where or 'format'}: {first['msg']}; export the model again") from error

    def version_of(self, files: Mapping[str, str]) -> str:
        """What `version` must be of a bundle with these files, by their digests."""
        content = {"model": model_digest(files), "schema": self.model_dump(mode="json", exclude={"version"})}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def describe_request(self) -> dict[str, Any]:
        """JSON Schema of a request, for whoever writes a client in another language.

        What it accepts is read, and what it refuses is not, but for what no schema can say: whether base64 is an image,
        text has a word, names are genes and values are of the unit declared; and a body of more than 64 MiB.
        """
        forms = self.modalities
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": False,
            "properties": {name: {"anyOf": [form.describe(), {"type": "null"}]} for name, form in forms.items()},
            "anyOf": any_of(forms),
        }

    def describe_response(self) -> dict[str, Any]:
        """JSON Schema of an answer."""
        schema = Response.model_json_schema(mode="serialization")
        schema["properties"]["prediction"] = self.prediction
        schema["properties"]["reliability"] = self.reliability or {"type": "null"}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@dataclass
class Patient:
    """A request that could be read.

    Attributes:
        sample: raw values by modality, in the form of `Cohort.sample`.
        counts: how many parts each was sent in, where the form counts them.
        ignored: modalities that were sent and not read, for the task looks at none of them.
        warnings: what was left out or looks wrong, one line each.
    """

    sample: dict[str, Any]
    counts: dict[str, int]
    ignored: list[str]
    warnings: list[str]


class ExaminedPart(BaseModel):
    """How much of a modality was looked at, such as 256 of 800 images.

    Attributes:
        what: is counted.
        examined: how many of them the prediction rests on.
        of: how many were sent.
    """

    what: str
    examined: int
    of: int


class Digests(BaseModel):
    """SHA-256 of what answered.

    Attributes:
        model: encoder, head and task, with their vocabularies.
        contract: `schema.json`, which says what is asked and answered.
    """

    model: str
    contract: str


class Response(BaseModel):
    """What the endpoint answers.

    Attributes:
        request_id: of the sender, echoed; made by the server where the sender gave none.
        model: its name.
        version: its version; names exactly one bundle.
        release: of the code that answered.
        digests: of the files that answered.
        task: what was predicted.
        prediction: the numbers, as the task model gives them.
        reliability: how far they can be relied on: `region`, the set or interval that holds the truth with the chance
            `coverage`; by modality `out_of_distribution`, above 1 where it is unlike that of the patients learnt from;
            whether to `abstain`, with `reasons`. None where the model was not fitted for it.
        modalities_used: what the prediction rests on.
        modalities_ignored: sent, and not looked at by this task.
        examined: by modality used, how much of it was looked at.
        warnings: what was left out of an input or looks wrong in it, one line each.
        synthetic: true for a model trained on synthetic patients: no clinical meaning.
    """

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)

    request_id: str
    model: str
    version: str
    release: str
    digests: Digests
    task: str
    prediction: dict[str, Any]
    reliability: dict[str, Any] | None = None
    modalities_used: list[str]
    modalities_ignored: list[str]
    examined: dict[str, ExaminedPart]
    warnings: list[str]
    synthetic: bool


def read_request(body: Any, schema: BundleSchema, looked_at: Container[str] | None = None) -> Patient:
    """One patient from the body of a request.

    Args:
        body: JSON text, or what it decoded to.
        schema: of the bundle that will answer.
        looked_at: modalities that the task looks at; no other is read. All are if None.

    Raises:
        RequestError: naming the field, if anything in it cannot be read.
    """
    content = parse(body)
    forms = {name: form for name, form in schema.modalities.items() if looked_at is None or name in looked_at}
    sent = _sent(content, schema.modalities)
    warnings: list[str] = []
    sample, counts = _read(sent, forms, warnings)
    return Patient(sample, counts, [name for name in sent if name not in sample], warnings)


def read_forms(
    content: Mapping[str, Any], forms: Mapping[str, RequestForm]
) -> tuple[dict[str, Any], dict[str, int], list[str]]:
    """A request's raw values by modality, counts of what was sent, and warnings; see `read_request`."""
    warnings: list[str] = []
    sample, counts = _read(_sent(content, forms), forms, warnings)
    return sample, counts, warnings


def _sent(content: Mapping[str, Any], forms: Mapping[str, RequestForm]) -> dict[str, Any]:
    for name in content:
        if name not in forms:
            raise unknown_field(str(name), str(name), forms)
    sent = {name: content[name] for name in forms if content.get(name) is not None}
    if not sent:
        raise RequestError("request", "no modality", f"give at least one of {', '.join(forms)}")
    return sent


def _read(
    sent: Mapping[str, Any], forms: Mapping[str, RequestForm], warnings: list[str]
) -> tuple[dict[str, Any], dict[str, int]]:
    sample, counts = {}, {}
    for name, value in sent.items():
        if name in forms:
            sample[name] = forms[name].read(value, name, warnings)
            count = forms[name].count(value)
            if count is not None:
                counts[name] = count
    return sample, counts


def _form(name: str, content: Any) -> RequestForm:
    if isinstance(content, RequestForm):
        return content
    try:
        return read_form(name, content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(".".join([name, *map(str, first["loc"])]) + f": {first['msg']}") from error
