"""KServe's Open Inference Protocol, version 2, as a form that requests and answers take beside their own.

A patient is an element of the BYTES tensor `patient`: a request of this endpoint as JSON text. The answers come back in
`answer`, in order, each an answer or problem details as JSON text, with its status of HTTP in `status`.
Source: Open Inference Protocol specification, inference REST, version 2.
"""

import io
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from foundation.modalities.request import RequestError
from foundation.release import installed_release
from serve.asgi import frames
from serve.host import Call, Reply, to_reply
from serve.problems import ProblemDetails
from serve.reading import parse

MEDIA_TYPE = "application/vnd.consilium.inference+json"  # by which a worker knows a call that it is to split
SMALL = 64 << 10  # bytes: parsed in about a millisecond
MOST_PATIENTS = 256  # a call
INPUT, ANSWER, STATUS = "patient", "answer", "status"


def _number(value: Any) -> Any:
    """What JSON Schema takes for an integer: 1 and 1.0, neither true nor "1"."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ValueError("give a whole number")


class _Tensor(BaseModel):
    name: Literal["patient"]
    shape: Annotated[list[Annotated[int, BeforeValidator(_number), Field(ge=0)]], Field(min_length=1, max_length=2)]
    datatype: Literal["BYTES"]
    parameters: dict[str, Any] | None = None
    data: Annotated[list[str], Field(min_length=1, max_length=MOST_PATIENTS)]


class _Request(BaseModel):
    id: str | None = None
    parameters: dict[str, Any] | None = None
    inputs: Annotated[list[_Tensor], Field(min_length=1, max_length=1)]
    outputs: list[dict[str, Any]] | None = None


def server_metadata() -> dict[str, Any]:
    """What `GET /v2` says."""
    return {"name": "consilium", "version": installed_release(), "extensions": []}


def model_metadata(name: str, version: str) -> dict[str, Any]:
    """What `GET /v2/models/NAME` says."""
    return {
        "name": name,
        "versions": [version],
        "platform": "consilium",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": ANSWER, "datatype": "BYTES", "shape": [-1]},
            {"name": STATUS, "datatype": "INT32", "shape": [-1]},
        ],
    }


def to_calls(body: bytes, headers: Mapping[str, Any], default_id: str) -> list[Call]:
    """The patients of a call, each under the call's id with its place behind it.

    Raises:
        RequestError: if the body is no call of this protocol.
    """
    try:
        request = _Request.model_validate(parse(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        advice = f"send one input '{INPUT}' of BYTES, a request as JSON text an element"
        raise RequestError(field or "request", str(first["msg"]), advice) from error
    (tensor,) = request.inputs
    count = 1
    for size in tensor.shape:
        count *= size
    if count != len(tensor.data):
        reason = f"shape {tensor.shape} of {len(tensor.data)} elements"
        raise RequestError("inputs.0.shape", reason, "give the number of elements")
    ids = {} if request.id is None else {"x-request-id": request.id}
    base = Call(b"", {**headers, **ids}, default_id).request_id
    names = [base] if count == 1 else [f"{base}/{place}" for place in range(count)]
    return [
        Call(text.encode("utf-8", "surrogatepass"), {}, name) for text, name in zip(tensor.data, names, strict=True)
    ]


def split(call: Call) -> Reply:
    """The patients of a call, or its refusal, as a worker sends them: a large body is parsed there.

    JSON is parsed without letting go of the interpreter, so in no thread of the front, which would stop for it.
    """
    try:
        return Reply(HTTPStatus.OK, frames.of_calls(to_calls(call.body, call.headers, call.default_id)).encode(), {})
    except RequestError as error:
        return to_reply(error, call.request_id)


def joined(reply: Reply) -> list[Call]:
    """The way back.

    Raises:
        RequestError: if the call was refused.
    """
    if reply.status != HTTPStatus.OK:
        raise ProblemDetails.model_validate_json(reply.body).error()
    frame = frames.read(io.BytesIO(reply.body))
    assert frame is not None, "a worker's reply is never empty"
    return frames.to_calls(frame)


def of_replies(replies: Sequence[Reply], name: str, version: str, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and content of the answer; the status is a refusal's where nobody's request was answered."""
    statuses = [int(reply.status) for reply in replies]
    if HTTPStatus.OK not in statuses:
        return statuses[0], {"error": json.loads(replies[0].body)["detail"]}
    outputs = [
        {"name": ANSWER, "datatype": "BYTES", "shape": [len(replies)], "data": [r.body.decode() for r in replies]},
        {"name": STATUS, "datatype": "INT32", "shape": [len(replies)], "data": statuses},
    ]
    return HTTPStatus.OK, {"model_name": name, "model_version": version, "id": request_id, "outputs": outputs}
