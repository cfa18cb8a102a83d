"""The schema of a served model: its bundle, the request and the response."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidationError, field_validator

from foundation.errors import UserError
from foundation.modalities.request import RequestForm, read_form, unknown_field

FILE = "schema.json"


class BundleSchema(BaseModel):
    """`schema.json` of a bundle.

    Attributes:
        format: of the bundle; this release reads 2.
        name: of the model, as the endpoint knows it.
        version: the head of the digest of all that the model is made of.
        task: name of the task.
        prediction: JSON Schema of what the task's head answers.
        synthetic: whether the model was trained on synthetic patients alone.
        modalities: by name, what a request may hold.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[2] = 2
    name: str
    version: str
    task: str
    prediction: dict[str, Any]
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

    def describe_request(self) -> dict[str, Any]:
        """JSON Schema of a request, for whoever writes a client in another language."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {name: form.describe() for name, form in self.modalities.items()},
        }

    def describe_response(self) -> dict[str, Any]:
        """JSON Schema of an answer."""
        schema = Response.model_json_schema()
        schema["properties"]["prediction"] = self.prediction
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@dataclass
class Patient:
    """A request that could be read.

    Attributes:
        sample: raw values by modality, in the form of `Cohort.sample`.
        warnings: what was left out, one line each.
    """

    sample: dict[str, Any]
    warnings: list[str]


class Response(BaseModel):
    """What the endpoint answers.

    Attributes:
        model: its name.
        version: its version; names exactly one bundle.
        task: what was predicted.
        prediction: the numbers, as the task model gives them.
        modalities_used: what the prediction rests on.
        modalities_ignored: sent, and not looked at by this task.
        warnings: what was left out of an input, one line each.
        synthetic: true for a model trained on synthetic patients: no clinical meaning.
    """

    model: str
    version: str
    task: str
    prediction: dict[str, Any]
    modalities_used: list[str]
    modalities_ignored: list[str]
    warnings: list[str]
    synthetic: bool


def read_request(body: bytes | str | dict[str, Any], schema: BundleSchema) -> Patient:
    """One patient from the body of a request.

    Args:
        body: JSON text, or what it decoded to.
        schema: of the bundle that will answer.

    Raises:
        UserError: naming the field, if anything in it cannot be read.
    """
    content = _parse(body)
    for name in content:
        if name not in schema.modalities:
            raise unknown_field(name, name, schema.modalities)
    warnings: list[str] = []
    sample = {
        name: form.read(content[name], name, warnings)
        for name, form in schema.modalities.items()
        if content.get(name) is not None
    }
    if not sample:
        raise UserError(f"request: no modality; give at least one of {', '.join(schema.modalities)}")
    return Patient(sample, warnings)


def _form(name: str, content: Any) -> RequestForm:
    if isinstance(content, RequestForm):
        return content
    try:
        return read_form(name, content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(".".join([name, *map(str, first["loc"])]) + f": {first['msg']}") from error


def _parse(body: bytes | str | dict[str, Any]) -> dict[str, Any]:
    if not body and not isinstance(body, dict):
        # TorchServe takes a body of another type apart (curl's default is a form) and hands on nothing of it.
        raise UserError("request: empty; send one JSON object a patient, as Content-Type: application/json")
    try:
        content = body if isinstance(body, dict) else json.loads(body)
    except json.JSONDecodeError as error:
        raise UserError(f"request: not JSON ({error.msg}, line {error.lineno}); send one object a patient") from error
    except UnicodeDecodeError as error:
        raise UserError("request: not UTF-8 text; send JSON as UTF-8") from error
    except RecursionError as error:
        raise UserError("request: nested too deep; send one object a patient") from error
    if not isinstance(content, dict):
        raise UserError(f"request: found a {type(content).__name__}; send one JSON object a patient")
    return content
