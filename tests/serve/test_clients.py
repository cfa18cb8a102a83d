"""Both clients, sync and async, before an endpoint that is busy: when they ask again, and when they do not."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.ports import free_ports
from serve.async_client import AsyncClient
from serve.client import Client
from serve.conversation import RefusedError, Retries
from serve.schema import Response
from tests.serve.test_predict import ANSWER, PATIENT

Ask = Callable[..., Response]


class Busy(BaseHTTPRequestHandler):
    """Refuses as often as it has refusals left, then answers."""

    refusals: list[tuple[int, dict[str, str]]]
    asked: int

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked += 1
        status, headers = self.refusals.pop(0) if self.refusals else (200, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWER if status == 200 else {"detail": "busy"}).encode())

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def busy() -> Iterator[tuple[type[Busy], str]]:
    endpoint = type("Asked", (Busy,), {"refusals": [], "asked": 0})
    web = ThreadingHTTPServer(("127.0.0.1", 0), endpoint)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield endpoint, f"http://127.0.0.1:{web.server_port}/"
    web.shutdown()
    web.server_close()


def ask(address: str, retries: Retries, seconds: float = 5) -> Response:
    return Client(address, "token", seconds, retries).predict(PATIENT)


def ask_async(address: str, retries: Retries, seconds: float = 5) -> Response:
    async def run() -> Response:
        async with AsyncClient(address, "token", seconds, retries) as client:
            return await client.predict(PATIENT)

    return asyncio.run(run())


both = pytest.mark.parametrize("client", [ask, ask_async])


@both
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(client: Ask, status: int, busy: tuple[type[Busy], str]):
    endpoint, address = busy
    endpoint.refusals = [(status, {"Retry-After": "0"}), (status, {})]
    assert client(address, Retries(3, pause_seconds=0.01)).model_dump() == ANSWER
    assert endpoint.asked == 3


@both
@pytest.mark.parametrize(
    ("retries", "refusal", "asked"),
    [
        (Retries(2, 0.01), (429, {}), 2),  # as often as is allowed
        (Retries(2, 0.01, longest_seconds=5), (503, {"Retry-After": "3600"}), 1),  # nobody waits so long
        (Retries(4, 0.01), (422, {}), 1),  # another time, it is the same
        (Retries(4, 0.01), (500, {}), 1),
    ],
)
def test_a_refusal_that_stays_is_raised(
    client: Ask, retries: Retries, refusal: tuple[int, dict[str, str]], asked: int, busy: tuple[type[Busy], str]
):
    endpoint, address = busy
    endpoint.refusals = [refusal] * 9
    with pytest.raises(RefusedError, match=f"the server refused the request \\({refusal[0]}\\): busy") as refused:
        client(address, retries)
    assert (refused.value.status, refused.value.problem, endpoint.asked) == (refusal[0], None, asked)


@both
def test_where_nobody_answers_it_is_one_line(client: Ask):
    address = f"http://127.0.0.1:{free_ports(1)[0]}/"
    with pytest.raises(UserError, match=f"{address}: nobody answers; start the server"):
        client(address, Retries())
    with pytest.raises(UserError, match="give the address that python -m serve printed"):
        client("ftp://127.0.0.1/", Retries())


@both
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"])
def test_a_server_that_drips_its_reply_holds_nobody(client: Ask, head: bytes):
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(head)
            while not ended.wait(0.05):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        stop = threading.Timer(5, ended.set)  # else a client without an end would hold the test, too
        stop.start()
        begun = time.monotonic()
        with pytest.raises(UserError, match=r"no answer within 0\.5 s"):
            client(f"http://127.0.0.1:{listener.getsockname()[1]}/", Retries(), 0.5)
        assert time.monotonic() - begun < 4
        ended.set()
        stop.cancel()
        thread.join(5)


def test_many_patients_where_nobody_answers_are_one_error():
    async def run() -> Any:
        async with AsyncClient(f"http://127.0.0.1:{free_ports(1)[0]}/", "token", 5) as client:
            return await client.predict_all([PATIENT] * 40)

    with pytest.raises(UserError, match="nobody answers"):
        asyncio.run(run())


def test_the_client_asks_from_within_a_running_loop(busy: tuple[type[Busy], str]):
    async def notebook() -> Response:
        return ask(busy[1], Retries())

    assert asyncio.run(notebook()).model_dump() == ANSWER


def test_none_on_their_way_at_a_time_is_refused_not_waited_for():
    async def run() -> Any:
        async with AsyncClient("http://127.0.0.1:9/", "token") as client, asyncio.timeout(5):
            return await client.predict_all([PATIENT], at_once=0)

    with pytest.raises(UserError, match="at_once: found 0; give more than 0"):
        asyncio.run(run())


def test_a_patient_that_json_cannot_say_is_not_sent(busy: tuple[type[Busy], str]):
    endpoint, address = busy
    for patient in ({"record": {"age": float("nan")}}, {"report": {1, 2}}):
        with pytest.raises(UserError, match="request: cannot be said in JSON"):
            Client(address, "token").predict(patient)
    assert endpoint.asked == 0


def test_pauses_follow_the_server_or_double():
    retries = Retries(attempts=9, pause_seconds=1, longest_seconds=10)
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=5), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    assert retries.pause(1, 429, "7") == 7
    assert 3 < (retries.pause(1, 503, soon) or 0) <= 5
    assert retries.pause(1, 503, past) == 0
    for attempt, least, most in ((1, 1, 1.5), (2, 2, 3), (3, 4, 6), (5, 10, 10)):
        assert all(least <= (retries.pause(attempt, 429, text) or 0) <= most for text in (None, "soon", "-1", "²"))
    assert retries.pause(9, 429, None) is None and retries.pause(1, 200, "7") is None
    with pytest.raises(UserError, match="attempts: found 0; give more than 0"):
        Retries(attempts=0)


def test_the_async_client_loads_neither_torch_nor_a_host():
    program = "import sys, serve.async_client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pandas", "transformers", "uvicorn", "requests"} & set(done.stdout.split())
