"""The OpenAPI document: of version 3.1, and of the same schema as reader and answers."""

import json
from pathlib import Path
from typing import Any

from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from foundation.data.cohort import Cohort
from serve import openapi
from serve.client import to_request
from serve.host import Call, answer
from serve.predictor import Predictor

ADDRESS = "urn:consilium:openapi"


def validator(document: dict[str, Any], component: str) -> Draft202012Validator:
    registry: Registry[Any] = Registry().with_resource(ADDRESS, Resource(document, DRAFT202012))
    return Draft202012Validator({"$ref": f"{ADDRESS}#/components/schemas/{component}"}, registry=registry)


def document(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / openapi.FILE).read_text())
    return content


def test_the_bundle_holds_the_document_of_its_own_schema(bundle: Path, predictor: Predictor):
    assert document(bundle) == openapi.describe(predictor.schema)


def test_a_bundle_that_takes_fhir_says_so(predictor: Predictor):
    content = openapi.describe(predictor.schema, fhir=True)
    OpenAPI.model_validate(content)
    operation = content["paths"][openapi.predictions_path(predictor.schema.name)]["post"]
    kinds = ["application/json", "application/fhir+json"]
    assert list(operation["requestBody"]["content"]) == list(operation["responses"]["200"]["content"]) == kinds


def test_it_is_openapi_3_1(bundle: Path):
    model = OpenAPI.model_validate(document(bundle))
    assert model.openapi == "3.1.0"
    assert list(document(bundle)["paths"]) == [
        f"/{kind}/{model.info.title}" for kind in ("predictions", "explanations")
    ]


def test_it_holds_the_schema_of_requests_and_nothing_else_of_it(bundle: Path, predictor: Predictor):
    written = document(bundle)["components"]["schemas"]["Request"]
    assert {"$schema": "https://json-schema.org/draft/2020-12/schema", **written} == predictor.schema.describe_request()


def test_answers_and_refusals_are_as_it_describes_them(
    bundle: Path, predictor: Predictor, cohort: Cohort, complete: str
):
    request = to_request(cohort.sample(complete), predictor.schema)
    bodies = [json.dumps(request), '{"report": 3}', "{", '{"record": {"age": NaN}}']
    replies = answer(predictor, [Call(body, {}, "r-1") for body in bodies])
    contents = [json.loads(reply.body) for reply in replies]
    described = document(bundle)
    assert validator(described, "Request").is_valid(request)
    validator(described, "Response").validate(contents[0])
    assert set(contents[0]) == set(described["components"]["schemas"]["Response"]["required"])
    responses = described["paths"][f"/predictions/{predictor.schema.name}"]["post"]["responses"]
    for reply, content in zip(replies[1:], contents[1:], strict=True):
        validator(described, "Problem").validate(content)
        assert list(responses[str(reply.status)]["content"]) == [reply.headers["content-type"]]


def test_no_answer_has_more_or_less_than_it_says(bundle: Path, predictor: Predictor):
    (reply,) = answer(predictor, [Call('{"report": "Atypia."}', {}, "r-1")])
    content = json.loads(reply.body)
    check = validator(document(bundle), "Response")
    assert check.is_valid(content)
    assert not check.is_valid({**content, "more": 1})
    for name in content:
        assert not check.is_valid({key: value for key, value in content.items() if key != name}), name
