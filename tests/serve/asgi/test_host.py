"""The host as a user starts it, and HTTP that never ends."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
import uvicorn

from foundation.polling import wait_until
from foundation.ports import free_ports
from serve import manifest
from serve.asgi import launch
from serve.asgi.protocol import MOST_HEADER_BYTES, deadlines
from serve.asgi.worker import command as worker_command
from serve.async_client import AsyncClient
from serve.client import Client
from serve.conversation import RefusedError
from serve.schema import BundleSchema, Response
from serve.server import STATE, Server, stop
from tests.serve.conftest import alike

pytestmark = pytest.mark.process
BODY = b'{"report": "Atypia."}'


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    output = tmp_path_factory.mktemp("asgi")
    (port,) = free_ports(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", f"http://127.0.0.1:{free_ports(1)[0]}")  # hospitals have proxies: none leads here
        patch.delenv("no_proxy", raising=False)
        started = launch.start(bundle, BundleSchema.load(bundle), output, port, start_seconds=60)
    yield started
    if (output / STATE).is_file():
        stop(output)


def worker(server: Server) -> psutil.Process:
    (process,) = maker(server).children()
    return process


def maker(server: Server) -> psutil.Process:
    """The process that workers are copied from."""
    (process,) = psutil.Process(server.pid).children()
    return process


def test_host_answers_as_the_predictor(server: Server, check_contract: Callable[..., None]):
    check_contract(server)


def test_clients_of_both_kinds_get_the_same_answers(server: Server):
    client = Client.of(Path(server.key_file).parent)
    patients = [{"report": "Atypia."}, {"record": {"age": 61}}, b'{"report": "Atypia.", "record": {"age": 61}}'] * 4

    async def ask() -> list[Response | RefusedError]:
        async with AsyncClient.of(Path(server.key_file).parent) as together:
            await together.predict(patients[0], "ward-7")
            return await together.predict_all([*patients, {"report": 3}])

    *answers, refused = asyncio.run(ask())
    assert client.predict(patients[0], "ward-7").request_id == "ward-7"
    for patient, found in zip(patients, answers, strict=True):
        assert isinstance(found, Response)
        one, other = client.predict(patient).model_dump(), found.model_dump()
        assert one.pop("request_id") != other.pop("request_id")
        assert alike(one, other)
    assert isinstance(refused, RefusedError)
    assert refused.problem is not None and (refused.status, refused.problem.field) == (422, "report")


def test_host_listens_on_loopback_alone(server: Server):
    family = [psutil.Process(server.pid), worker(server)]
    connections = [one for process in family for one in process.net_connections(kind="inet")]
    addresses = {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_host_s_front_holds_no_model(server: Server):
    maps = Path(f"/proc/{server.pid}/maps")
    assert "libtorch" not in maps.read_text()
    loaded = Path(f"/proc/{worker(server).pid}/maps").read_text()
    assert "libtorch" in loaded and "matplotlib" not in loaded


def test_host_replaces_a_killed_worker(server: Server):
    killed, stopped = worker(server), maker(server)
    ready = server.address.replace(f"/predictions/{server.model}", "/health/ready")
    stopped.suspend()  # else the next one would be there before anybody saw that one is missing
    os.kill(killed.pid, signal.SIGKILL)
    assert wait_until(lambda: requests.get(ready, timeout=5).status_code == 503, every=0.01, seconds=10)
    stopped.resume()
    assert Client(server.address, server.token(), 60).predict(BODY).modalities_used == ["report"]
    assert requests.get(ready, timeout=5).status_code == 200
    assert worker(server).pid != killed.pid


def test_host_logs_nothing_of_a_patient(server: Server):
    Client(server.address, server.token(), 60).predict(b'{"report": "Kryptonite."}')
    requests.post(server.address, data=b'{"report": ["Kryptonite"]}', timeout=60)
    folder = Path(server.key_file).parent
    assert "ryptonite" not in "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_stopping_the_host_leaves_no_process_and_no_key(server: Server):
    family = [psutil.Process(server.pid), maker(server), worker(server)]
    assert stop(Path(server.key_file).parent)
    left = {path.name for path in Path(server.key_file).parent.iterdir()}
    assert {"usage.json", "audit.jsonl.head"} <= left, "what was counted is written when the last request is answered"
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not Path(server.key_file).exists()


def test_a_bundle_that_does_not_load_ends_the_host(tmp_path: Path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text('{"model/task.json": "0"}')
    settings = {"bundle": str(bundle), "key_file": str(tmp_path / "none"), "receive_seconds": 1}
    settings |= {"listening": {"address": "127.0.0.1", "port": 1}, "drain_seconds": 1, "callers": None}
    settings |= {"seal": manifest.seal(bundle), "model": "m", "version": "1", "limits": {}}
    settings["openapi"] = str(tmp_path / "openapi.json")
    (tmp_path / "openapi.json").write_text("{}")
    (tmp_path / "host.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "serve.asgi", str(tmp_path / "host.json")], capture_output=True, text=True, check=False
    )
    reasons = [f"error: {bundle}/model/task.json: missing", f"error: {bundle}: the model did not load"]
    assert [line[: len(reason)] for line, reason in zip(done.stderr.splitlines(), reasons, strict=True)] == reasons
    assert done.returncode == 2


def test_a_worker_serves_no_other_bundle_than_was_verified(bundle: Path, tmp_path: Path):
    """A worker that is replaced after another export into the same folder would mix the answers of two models."""
    other = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (other / "reference.json").write_text("{}")
    seal = manifest.seal(other)
    manifest.write(other)
    command = worker_command(other, seal)
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: {other}: another bundle lies there by now; start again to serve it\n",
    )


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nX: " + b"a" * (MOST_HEADER_BYTES + 1),
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * (8 * MOST_HEADER_BYTES),
    ],
)
def test_protocol_cuts_off_what_does_not_end(sent: bytes):
    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.request":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

    async def run() -> tuple[bytes, bytes]:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        seconds = 0.5 if len(sent) < MOST_HEADER_BYTES else 60  # what is too long is cut off at once
        config = uvicorn.Config(
            app, http=deadlines(seconds), lifespan="off", ws="none", log_config=None, access_log=False
        )
        host = uvicorn.Server(config)
        task = asyncio.create_task(host.serve([listener]))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        other, asks = await asyncio.open_connection("127.0.0.1", port)
        asks.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        whole = await other.readline()
        try:
            cut = await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:  # cut off with bytes on their way
            cut = b""
        asks.close()
        writer.close()
        host.should_exit = True
        await task
        return whole, cut

    assert asyncio.run(run()) == (b"HTTP/1.1 200 OK\r\n", b"")
