"""The application, in process, before a pool that answers at once: tokens, paths, budgets, and the second protocol."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from serve.asgi import inference
from serve.asgi.app import App
from serve.asgi.pool import Limits, Pool
from serve.asgi.tokens import Tokens
from serve.host import Call, Reply
from serve.key_file import write_key_file
from serve.monitoring.observer import Observer
from serve.openapi import describe
from serve.reading import MOST_BYTES
from serve.schema import BundleSchema


def answered(body: str, request_id: str) -> dict[str, Any]:
    return {"body": body, "id": request_id, "reliability": None, "modalities_used": ["report"], "examined": {}}


class Echo(Pool):
    """Answers with what it was asked; refuses a body that says so."""

    splits = 0

    async def answer(self, call: Call) -> Reply:
        if call.header("content-type") == inference.MEDIA_TYPE:
            self.splits += 1
            return inference.split(call)
        status = 422 if call.body == b"bad" else 200
        content = {"detail": "bad"} if status == 422 else answered(call.body.decode(), call.request_id)
        counted = None if status == 422 else content
        return Reply(status, json.dumps(content).encode(), {"content-type": "application/json"}, counted)


@pytest.fixture
def app(bundle: Path, tmp_path: Path) -> App:
    write_key_file(tmp_path / "key_file.json")
    schema = BundleSchema.load(bundle)
    observer = Observer(tmp_path, None, {"version": schema.version})
    tokens = Tokens(tmp_path / "key_file.json")
    return App(schema.name, schema.version, describe(schema), Echo([], Limits()), tokens, observer)


def key(tmp_path: Path, caller: str = "inference") -> str:
    text: str = json.loads((tmp_path / "key_file.json").read_text())[caller]["key"]
    return text


def ask(
    app: App, method: str, path: str, headers: Mapping[str, str], body: bytes | None = b"", token: str | None = None
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and content; a body of None is one that nobody may read."""
    fields = {**headers, **({} if token is None else {"authorization": f"Bearer {token}"})}
    scope = {"type": "http", "method": method, "path": path}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in fields.items()]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        assert body is not None, "a body was read that is of no use"
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], names, json.loads(sent[1]["body"])


def predictions(app: App) -> str:
    return f"/predictions/{app.model}"


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer ", "Bearer x", "Basic KEY", "KEY", "Bearer KEYx"])
def test_app_reads_no_body_without_a_token(app: App, tmp_path: Path, authorization: str | None):
    headers = {"content-length": "5", "x-request-id": "r-1"}
    if authorization is not None:
        headers["authorization"] = authorization.replace("KEY", key(tmp_path))
    status, replied, content = ask(app, "POST", predictions(app), headers, None)
    assert (status, replied["www-authenticate"], content["request_id"]) == (401, "Bearer", "r-1")
    assert replied["content-type"] == "application/problem+json"


def test_app_takes_a_rotated_token_without_a_restart(app: App, tmp_path: Path):
    before = key(tmp_path)
    write_key_file(tmp_path / "key_file.json")
    assert ask(app, "POST", predictions(app), {}, token=before)[0] == 401
    assert ask(app, "POST", predictions(app), {}, token=key(tmp_path))[0] == 200


def test_app_knows_callers_by_their_tokens(app: App, tmp_path: Path):
    content = json.loads((tmp_path / "key_file.json").read_text()) | {"clinic": {"key": "word"}}
    (tmp_path / "key_file.json").write_text(json.dumps(content))
    assert app.tokens.caller(b"Bearer word") == "clinic"
    assert app.tokens.caller(f"bearer {key(tmp_path)}".encode()) == "inference"
    write_key_file(tmp_path / "key_file.json")
    assert app.tokens.caller(b"Bearer word") == "clinic"


@pytest.mark.parametrize("content", ['{"a": {}}', '{"a": {"key": ""}}', '{"a": {"key": null}}', "[]"])
def test_a_key_file_that_is_none_is_one_line(tmp_path: Path, content: str):
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(UserError, match=r"keys\.json"):
        Tokens(tmp_path / "keys.json")


def test_app_lets_nobody_in_while_the_key_file_cannot_be_read(app: App, tmp_path: Path):
    path = tmp_path / "key_file.json"
    token, content = key(tmp_path), path.read_text()
    path.write_text(content[: len(content) // 2])
    status, replied, _ = ask(app, "POST", predictions(app), {}, None, token)
    assert (status, replied["content-type"]) == (401, "application/problem+json")
    path.write_text(content)
    assert ask(app, "POST", predictions(app), {}, token=token)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "PREDICTIONS", {"content-type": "text/plain"}, 415),
        ("POST", "PREDICTIONS", {"content-type": "application/json; charset=utf-16"}, 415),
        ("POST", "PREDICTIONS", {"content-encoding": "GZIP"}, 415),
        ("POST", "PREDICTIONS", {"content-length": str(MOST_BYTES + 1)}, 413),
        ("GET", "PREDICTIONS", {}, 405),
        ("POST", "/openapi.json", {}, 405),
        ("GET", "/predictions/other", {}, 404),
        ("GET", "/../etc/passwd", {}, 404),
    ],
)
def test_app_refuses_before_it_reads(
    app: App, tmp_path: Path, method: str, path: str, headers: dict[str, str], status: int
):
    path = path.replace("PREDICTIONS", predictions(app))
    found, replied, content = ask(app, method, path, headers, None, key(tmp_path))
    assert (found, content["status"]) == (status, status)
    assert replied["content-type"] == "application/problem+json"
    assert app.pool.reserve(Limits().waiting_bytes) is None  # nothing stays reserved


def test_app_refuses_more_than_it_may_hold(app: App, tmp_path: Path):
    app.pool.limits.waiting_bytes = 10
    status, replied, _ = ask(app, "POST", predictions(app), {"content-length": "11"}, None, key(tmp_path))
    assert (status, replied["retry-after"]) == (429, "1")


def test_app_takes_room_for_a_body_that_is_not_counted_as_it_comes(app: App, tmp_path: Path):
    app.pool.limits.waiting_bytes = 10
    for headers in ({}, {"content-length": "1", "transfer-encoding": "chunked"}):  # chunks are not held to the count
        assert ask(app, "POST", predictions(app), headers, b"x" * 10, key(tmp_path))[0] == 200
        assert ask(app, "POST", predictions(app), headers, b"x" * 11, key(tmp_path))[0] == 429
    assert app.pool.reserve(10) is None  # nothing stays reserved


def test_app_serves_the_bundle_s_openapi_document(app: App, tmp_path: Path, bundle: Path):
    status, _, content = ask(app, "GET", "/openapi.json", {}, token=key(tmp_path))
    assert (status, content) == (200, json.loads((bundle / "openapi.json").read_text()))


@pytest.mark.parametrize("path", ["/health/ready", "/ping", "/v2/health/ready"])
def test_app_is_ready_while_a_worker_is(app: App, path: str):
    assert ask(app, "GET", path, {})[::2] == (503, {"ready": False})
    app.pool.ready_workers = 1
    assert ask(app, "GET", path, {})[::2] == (200, {"ready": True})
    assert ask(app, "GET", "/health/live", {})[::2] == (200, {"live": True})


def infer(data: list[Any], **fields: Any) -> bytes:
    tensor = {"name": "patient", "shape": [len(data)], "datatype": "BYTES", "data": data} | fields
    return json.dumps({"id": "c-1", "inputs": [tensor]}).encode()


def test_inference_protocol_answers_each_patient_for_itself(app: App, tmp_path: Path):
    path = f"/v2/models/{app.model}/infer"
    status, _, content = ask(app, "POST", path, {}, infer(["one", "bad", "three"]), key(tmp_path))
    assert status == 200
    assert (content["model_name"], content["model_version"], content["id"]) == (
        app.model,
        app.version,
        "c-1",
    )
    answers, statuses = content["outputs"]
    assert [json.loads(text) for text in answers["data"]] == [
        answered("one", "c-1/0"),
        {"detail": "bad"},
        answered("three", "c-1/2"),
    ]
    assert statuses == {"name": "status", "datatype": "INT32", "shape": [3], "data": [200, 422, 200]}


def test_inference_protocol_echoes_an_id_with_a_stroke_in_it(app: App, tmp_path: Path):
    body = infer(["one", "two"]).replace(b"c-1", b"ward/7")
    _, _, content = ask(app, "POST", f"/v2/models/{app.model}/infer", {}, body, key(tmp_path))
    assert content["id"] == "ward/7"


def test_app_tells_its_observer_of_each_patient_and_of_strangers(app: App, tmp_path: Path):
    ask(app, "POST", f"/v2/models/{app.model}/infer", {}, infer(["one", "bad", "three"]), key(tmp_path))
    ask(app, "POST", predictions(app), {}, b"{}")
    ask(app, "GET", "/health/live", {})
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["caller"], line["status"]) for line in lines] == [
        ("inference", 200),
        ("inference", 422),
        ("inference", 200),
        (None, 401),
    ]
    assert lines[0]["input"] == app.observer.trail.mac(b"one")
    metrics = app.observer.metrics({})
    assert 'consilium_requests_total{status="401"} 1\n' in metrics and "consilium_answered_total 2\n" in metrics


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (infer(["bad"]), 422, "bad"),
        (infer(["one"], shape=[True]), 422, "inputs.0.shape.0"),
        (infer(["one"], shape=["1"]), 422, "inputs.0.shape.0"),
        (infer(["one"], shape=[2]), 422, "shape [2] of 1 elements"),
        (infer(["one", "two"], shape=[-1, -2]), 422, "inputs.0.shape.0"),
        (infer(["one"], name="image"), 422, "inputs.0.name"),
        (infer([3]), 422, "inputs.0.data.0"),
        (b"{", 400, "not JSON"),
    ],
)
def test_inference_protocol_refuses_in_its_own_form(app: App, tmp_path: Path, body: bytes, status: int, text: str):
    path = f"/v2/models/{app.model}/versions/{app.version}/infer"
    found, replied, content = ask(app, "POST", path, {}, body, key(tmp_path))
    assert (found, replied["content-type"], list(content)) == (status, "application/json", ["error"])
    assert text in content["error"]


@pytest.mark.parametrize("size", [10, inference.SMALL])
def test_a_large_call_is_parsed_by_a_worker_with_the_same_answer(app: App, tmp_path: Path, size: int):
    path, text = f"/v2/models/{app.model}/infer", "x" * size
    status, _, content = ask(app, "POST", path, {}, infer([text, "two"]), key(tmp_path))
    assert (status, content["id"]) == (200, "c-1")
    assert [json.loads(one) for one in content["outputs"][0]["data"]] == [
        answered(text, "c-1/0"),
        answered("two", "c-1/1"),
    ]
    assert isinstance(app.pool, Echo) and app.pool.splits == (size == inference.SMALL)


def test_a_large_call_that_is_none_is_refused_by_a_worker(app: App, tmp_path: Path):
    body = infer(["x" * inference.SMALL], datatype="FP32")
    status, _, content = ask(app, "POST", f"/v2/models/{app.model}/infer", {}, body, key(tmp_path))
    assert status == 422 and content["error"].startswith("inputs.0.datatype: ")


def test_nothing_is_answered_that_the_audit_trail_cannot_hold(app: App, tmp_path: Path, caplog: Any):
    app.observer.trail.close()
    (tmp_path / "full").write_bytes(b"")
    app.observer.trail._stream = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 (a disk without room)
    status, replied, content = ask(app, "POST", predictions(app), {}, b"{}", key(tmp_path))
    assert (status, replied["content-type"]) == (503, "application/problem+json")
    assert content["reason"] == "the server cannot write its audit trail, and answers nothing that is not in it"
    assert "the audit trail cannot be written (" in caplog.text
    assert "consilium_requests_total" not in app.observer.metrics({})


def test_inference_protocol_describes_the_model(app: App, tmp_path: Path):
    token = key(tmp_path)
    model = f"/v2/models/{app.model}"
    assert ask(app, "GET", "/v2", {}, token=token)[2]["name"] == "consilium"
    assert ask(app, "GET", model, {}, token=token)[2]["versions"] == [app.version]
    assert ask(app, "GET", f"{model}/ready", {}, token=token)[::2] == (503, {"name": app.model, "ready": False})


def test_an_explanation_is_asked_for_by_its_path_and_counts_as_no_use(app: App, tmp_path: Path):
    class Marked(Echo):
        async def answer(self, call: Call) -> Reply:
            return Reply(200, json.dumps({"explain": call.header("explain")}).encode(), {})

    app.pool = Marked([], Limits())
    path = f"/explanations/{app.model}"
    assert ask(app, "POST", path, {"explain": "False"}, b"{}", key(tmp_path))[::2] == (200, {"explain": "True"})
    assert ask(app, "POST", predictions(app), {"explain": "True"}, b"bad")[0] == 401
    assert ask(app, "GET", path, {}, None, key(tmp_path))[0] == 405
    assert ask(app, "POST", path, {}, None)[0] == 401
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == [200, 401, 405, 401]
    assert "consilium_answered_total 0\n" in app.observer.metrics({})
