"""The OpenAPI 3.1 document of an endpoint, made of the schema by which it reads requests and writes answers."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from foundation.release import installed_release
from serve.explained import Explanation
from serve.problems import MEDIA_TYPE, ProblemDetails
from serve.schema import BundleSchema

FILE = "openapi.json"
VERSION = "3.1.0"
_REFUSALS = {
    HTTPStatus.BAD_REQUEST: "The body is not one JSON object.",
    HTTPStatus.UNAUTHORIZED: "The request carries no valid token.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The request holds more than is read.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not declared as JSON.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field cannot be read.",
    HTTPStatus.TOO_MANY_REQUESTS: "More requests wait than can be answered in time; `Retry-After` says when to ask.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The server failed on this request.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The model is not ready.",
}
_FHIR = {
    "application/fhir+json": {
        "schema": {
            "type": "object",
            "description": "A Bundle of FHIR R4 (4.0.1): of one patient, or of the answer about them.",
            "required": ["resourceType", "entry"],
            "properties": {"resourceType": {"const": "Bundle"}, "entry": {"type": "array", "minItems": 1}},
        }
    }
}
_REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "Echoed in answer and refusal; made by the server where there is none.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:@/+=-]{1,128}$"},
}


def predictions_path(model: str) -> str:
    """Where every host answers requests to a model."""
    return f"/predictions/{model}"


def explanations_path(model: str) -> str:
    """Where every host says what an answer goes by."""
    return f"/explanations/{model}"


def describe(schema: BundleSchema, fhir: bool = False) -> dict[str, Any]:
    """OpenAPI 3.1 of the endpoint that serves a bundle, whatever host carries it.

    Args:
        schema: of the bundle.
        fhir: whether it takes Bundles of FHIR R4, too.
    """
    components: dict[str, Any] = {}
    for name, content in (
        ("Request", schema.describe_request()),
        ("Response", schema.describe_response()),
        ("Explanation", Explanation.model_json_schema(mode="serialization")),
        ("Problem", ProblemDetails.model_json_schema(mode="serialization")),
    ):
        components |= _components(name, content)
    return {
        "openapi": VERSION,
        "info": {
            "title": schema.name,
            "version": schema.version,
            "summary": f"Task '{schema.task}' from any subset of {', '.join(schema.modalities)}",
            "description": f"Consilium {installed_release()}. Research software: not a medical device.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": {
            predictions_path(schema.name): {"post": _predict(schema, _REFUSALS, fhir)},
            explanations_path(schema.name): {"post": _explain(schema, _REFUSALS)},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": components,
        },
    }


def _predict(schema: BundleSchema, refusals: Iterable[HTTPStatus], fhir: bool) -> dict[str, Any]:
    answered = _answer("What the model predicts, and how far it can be relied on.", "application/json", "Response")
    operation = _operation("predict", f"The prediction of one patient: {schema.task}", answered, refusals)
    if fhir:
        operation["requestBody"]["content"] |= _FHIR
        answered["content"] |= _FHIR
    return operation


def _explain(schema: BundleSchema, refusals: Iterable[HTTPStatus]) -> dict[str, Any]:
    answered = _answer("What the prediction would be without each part.", "application/json", "Explanation")
    return _operation("explain", f"What the prediction of one patient goes by: {schema.task}", answered, refusals)


def _operation(name: str, summary: str, answered: dict[str, Any], refusals: Iterable[HTTPStatus]) -> dict[str, Any]:
    refused = {str(int(status)): _answer(_REFUSALS[status], MEDIA_TYPE, "Problem") for status in refusals}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [_REQUEST_ID],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _reference("Request")}}},
        "responses": {"200": answered, **refused},
    }


def _answer(text: str, media_type: str, component: str) -> dict[str, Any]:
    return {
        "description": text,
        "headers": {"X-Request-ID": {"schema": {"type": "string"}}},
        "content": {media_type: {"schema": _reference(component)}},
    }


def _reference(component: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{component}"}


def _components(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema as components: its definitions stand beside it, under the document's own address."""
    parts = {**content.get("$defs", {}), name: {key: value for key, value in content.items() if key != "$defs"}}
    moved = {key: _moved(value) for key, value in parts.items()}
    moved[name].pop("$schema", None)
    return moved


def _moved(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: inner.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _moved(inner)
            for key, inner in value.items()
        }
    return [_moved(inner) for inner in value] if isinstance(value, list) else value
