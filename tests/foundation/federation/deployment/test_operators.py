"""Who commands a SuperLink: keys that count from one command to the next, and a record of who gave which."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from foundation.errors import UserError
from foundation.federation.deployment import operators
from foundation.federation.deployment.command_gate import COMMANDS, OperatorsCommand, read_commands
from foundation.federation.deployment.operators import Operators, Refused, SignCommands
from foundation.federation.deployment.pki import write_authority, write_certificate
from foundation.federation.ledger.seal import read_private

START, LIST, LOG = (f"/v1/control/{name}" for name in ("start-run", "list-runs", "stream-logs"))


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A SuperLink's folder."""
    write_authority(tmp_path / "ca", "ours", 9)
    (tmp_path / "server").mkdir()
    write_certificate(tmp_path / "ca", tmp_path / "server", ["localhost"], 9)
    return tmp_path / "server"


@pytest.fixture
def alice(server: Path, tmp_path: Path) -> Path:
    """The key of an operator who is admitted."""
    operators.make_key(tmp_path / "alice.key", "alice")
    operators.admit_operator(server, "alice", tmp_path / "alice.key.pub")
    return tmp_path / "alice.key"


def signed(key: Path, path: str, body: bytes = b"run") -> httpx.Request:
    request = httpx.Request("POST", f"https://127.0.0.1{path}", content=body)
    SignCommands(read_private(key)).intercept(SimpleNamespace(request=request), lambda _: httpx.Response(200))
    return request


def who(server: Path, request: httpx.Request, clock: Callable[[], float] = time.time, **changes: Any) -> str:
    headers = {**request.headers, **changes.get("headers", {})}
    return Operators(server, clock).of(
        changes.get("path", request.url.path), changes.get("body", request.content), headers
    )


def test_owner_and_operators_are_known_by_their_keys(server: Path, alice: Path):
    assert who(server, signed(server / "superlink.key", START)) == "server"
    assert who(server, signed(alice, START)) == "alice"
    assert alice.stat().st_mode & 0o077 == 0


def test_who_is_dismissed_or_was_never_admitted_commands_nothing(server: Path, alice: Path, tmp_path: Path):
    operators.make_key(tmp_path / "mallory.key", "alice")
    with pytest.raises(Refused, match="signed by no operator of this SuperLink"):
        who(server, signed(tmp_path / "mallory.key", START))
    operators.dismiss_operator(server, "alice")
    with pytest.raises(Refused, match="signed by no operator of this SuperLink"):
        who(server, signed(alice, START))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"body": b"another run"}, "no operator"),
        ({"path": "/v1/control/register-node"}, "no operator"),
        ({"headers": {"x-consilium-number": "0"}}, "no operator"),
        ({"headers": {"x-consilium-time": "0.0"}}, "no operator"),
        ({"headers": {"x-consilium-signature": "not hex"}}, "no operator"),
        ({"headers": {"x-consilium-signature": ""}}, "not signed"),
        ({"headers": {"x-consilium-operator": ""}}, "not signed"),
    ],
)
def test_a_command_that_was_changed_is_nobodys(server: Path, alice: Path, changes: dict[str, Any], words: str):
    with pytest.raises(Refused, match=words):
        who(server, signed(alice, START), **changes)


@pytest.mark.parametrize("late", [-301, 301, float("nan")])
def test_a_command_of_another_time_is_refused(server: Path, alice: Path, late: float):
    request = signed(alice, START)
    with pytest.raises(Refused, match="was signed at another time"):
        who(server, request, lambda: time.time() + late)


def test_a_command_counts_once(server: Path, alice: Path):
    late = 0
    seen = Operators(server, lambda: time.time() + late)
    request = signed(alice, START)
    assert seen.of(START, b"run", request.headers) == "alice"
    for late in (0, 250):  # noqa: B007  # the clock reads it
        with pytest.raises(Refused, match="was given before"):
            seen.of(START, b"run", request.headers)
    assert seen.of(START, b"run", signed(alice, START).headers) == "alice"


def test_a_command_from_before_a_restart_is_not_given_again(web: TestClient, server: Path, alice: Path):
    again = signed(alice, START)
    assert ask(web, again).status_code == 200
    with pytest.raises(Refused, match="was signed at another time"):
        Operators(server, since=time.time()).of(START, b"run", again.headers)


def test_names_and_keys_are_held_apart(server: Path, alice: Path, tmp_path: Path):
    for name in ("server", "", "a/b", "..", "a b", "x" * 65):
        with pytest.raises(UserError, match="operator: found"):
            operators.make_key(tmp_path / "key", name)
        with pytest.raises(UserError, match="operator: found"):
            operators.admit_operator(server, name, alice.with_name("alice.key.pub"))
    with pytest.raises(UserError, match="the key of 'alice' already"):
        operators.admit_operator(server, "bob", alice.with_name("alice.key.pub"))
    with pytest.raises(UserError, match=r"alice\.key: a key lies there"):
        operators.make_key(alice, "alice")
    with pytest.raises(UserError, match="operator: found 'bob'; there are alice"):
        operators.dismiss_operator(server, "bob")


@pytest.fixture
def web(server: Path) -> TestClient:
    """The gate before an interface that says back what it was sent, or that it has no such run."""

    async def answer(request: Request) -> PlainTextResponse:
        body = await request.body()
        return PlainTextResponse(body.decode(), status_code=404 if body == b"none" else 200)

    async def log(request: Request) -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            for _ in range(3):
                await asyncio.sleep(0.02)
                yield "line\n"

        return StreamingResponse(lines())

    app = Starlette(routes=[Route(path, answer, methods=["POST"]) for path in (START, LIST, "/v1/fleet/pull")])
    app.router.routes.append(Route(LOG, log, methods=["POST"]))
    app.add_middleware(OperatorsCommand, folder=server)
    web = TestClient(app)
    web.get("/")  # what stands before the interface is built at its first request, before which no command counts
    return web


def ask(web: TestClient, request: httpx.Request) -> httpx.Response:
    return web.post(request.url.path, content=request.content, headers=dict(request.headers))


def test_commands_are_carried_out_and_written_down_whoever_gives_them(web: TestClient, server: Path, alice: Path):
    assert ask(web, signed(alice, START)).text == "run"
    assert ask(web, signed(server / "superlink.key", START, b"none")).status_code == 404
    refused = web.post(START, content=b"run")
    assert (refused.status_code, refused.text.split(";")[0]) == (401, "not signed by an operator")
    assert [web.post(START, content=b"run").status_code for _ in range(3)] == [401] * 3
    assert ask(web, signed(alice, LIST)).status_code == 200
    assert web.post("/v1/fleet/pull", content=b"node").text == "node"

    lines = [line.split(None, 3)[1:] for line in read_commands(server)]
    assert [(who, command, what.split(";")[0]) for who, command, what in lines] == [
        ("alice", "start-run", "200"),
        ("server", "start-run", "404"),
        ("nobody", "start-run", "not signed by an operator"),
    ]


def test_a_command_that_was_not_let_through_left_no_trace_in_the_app_and_no_body_is_endless(web, server, alice):
    request = signed(alice, START)
    assert web.post(START, content=b"another run", headers=dict(request.headers)).status_code == 401
    assert web.post(START, content=b"x" * ((64 << 20) + 1), headers=dict(request.headers)).status_code == 413


def test_a_log_is_streamed_to_its_end(server: Path, web: TestClient, alice: Path):
    assert ask(web, signed(alice, LOG)).text == "line\n" * 3


def test_an_altered_record_is_said(web: TestClient, server: Path, alice: Path):
    ask(web, signed(alice, START))
    record = server / COMMANDS
    record.write_text(record.read_text().replace("alice", "carol"))
    with pytest.raises(UserError, match=r"commands\.jsonl: line 1 was altered"):
        list(read_commands(server))
