"""TorchServe itself, on loopback with a token: answers, refusals, and nothing left behind."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest
import requests

from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from serve.bundle import largest_difference, write_archive
from serve.client import Client, to_request
from serve.explanation import explain
from serve.predictor import Predictor
from serve.schema import BundleSchema
from serve.server import STATE, Server, stop
from serve.torchserve import server as torchserve
from tests.serve.conftest import alike

pytestmark = pytest.mark.process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_of(server: Server) -> int:
    return int(server.address.split(":")[2].split("/")[0])


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    schema = BundleSchema.load(bundle)
    archive = write_archive(bundle, schema, bundle.parent)
    output = tmp_path_factory.mktemp("serve")
    started = torchserve.start(archive, schema, output, free_port())
    yield started
    if (output / STATE).is_file():
        stop(output)


def test_the_endpoint_answers_as_the_eager_model(
    server: Server, bundle: Path, run: Path, cohort: Cohort, complete: str
):
    sample = cohort.sample(complete)
    request = to_request(sample, BundleSchema.load(bundle))
    eager = TaskModel.load(run)
    for names in (["pathology"], list(request)):
        body = json.dumps({name: request[name] for name in names}).encode()
        found = Client(server.address, server.token(), 60).predict(body)
        expected = eager.predict([{name: sample[name] for name in names}])[0]
        assert largest_difference(found.prediction, expected) < 1e-4
        assert found.modalities_used == names
        assert found.version == server.version


def test_it_answers_as_the_predictor(server: Server, check_contract: Callable[..., None]):
    check_contract(server, ("content-type",))  # TorchServe writes an x-request-id of its own over the sender's


def test_what_an_answer_goes_by_is_told_at_its_path(server: Server, bundle: Path):
    body = b'{"report": "Atypia is high. Mitoses are few."}'
    address = server.address.replace("/predictions/", "/explanations/")
    headers = {"Authorization": f"Bearer {server.token()}", "Content-Type": "application/json"}
    content = requests.post(address, data=body, headers=headers, timeout=60).json()
    expected = explain(Predictor.load(bundle), body, content["request_id"]).model_dump()
    assert alike(content, expected)


def test_no_token_no_answer(server: Server):
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        reply = requests.post(server.address, data=b'{"report": "Atypia."}', headers=headers, timeout=30)
        assert 400 <= reply.status_code < 500
        assert "prediction" not in reply.text


@pytest.mark.parametrize(
    ("body", "kind", "status", "field"),
    [
        (b"{", "application/json", 400, "request"),
        (b'{"pathology": ["?"]}', "application/json", 422, "pathology[0]"),
        (b'{"record": {"age": 1e22}}', "application/json", 422, "record.age"),
        (b'{"record": {"age": NaN}}', "application/json", 400, "record.age"),
        (b"", "application/json", 400, "request"),
        (b'{"report": "Atypia."}', "application/x-www-form-urlencoded", 415, "Content-Type"),
    ],
)
def test_an_unreadable_request_gets_its_problem_and_the_worker_lives_on(
    server: Server, body: bytes, kind: str, status: int, field: str
):
    before = {child.pid for child in psutil.Process(server.pid).children(recursive=True)}
    headers = {"Authorization": f"Bearer {server.token()}", "Content-Type": kind, "X-Request-ID": "asked-1"}
    reply = requests.post(server.address, data=body, headers=headers, timeout=30)
    assert reply.status_code == reply.json()["status"] == status
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json()["field"] == field
    assert reply.json()["request_id"] == "asked-1"
    assert "\n" not in reply.json()["detail"]
    assert Client(server.address, server.token(), 60).predict(b'{"report": "Atypia."}').modalities_used == ["report"]
    assert {child.pid for child in psutil.Process(server.pid).children(recursive=True)} == before


def test_a_card_that_is_not_there_is_said(server: Server):
    headers = {"Authorization": f"Bearer {server.token()}", "Accept": "text/html", "Content-Type": "application/json"}
    reply = requests.get(server.address, headers=headers, timeout=30)
    assert (reply.status_code, reply.json()["reason"]) == (404, "this model has no text/html card")


def test_a_full_batch_with_one_that_cannot_be_read(server: Server):
    headers = {"Authorization": f"Bearer {server.token()}", "Content-Type": "application/json"}
    bodies = [b'{"report": "Atypia."}', b'{"report": 3}'] * 4

    def post(body: bytes) -> int:
        return requests.post(server.address, data=body, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(len(bodies)) as senders:
        assert list(senders.map(post, bodies)) == [200, 422] * 4


def listening(server: Server) -> set[tuple[str, int]]:
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    found = [connection for process in family for connection in process.net_connections(kind="inet")]
    return {(entry.laddr.ip, entry.laddr.port) for entry in found if entry.status == psutil.CONN_LISTEN}


def test_it_listens_on_loopback_alone(server: Server):
    assert {ip for ip, _ in listening(server)} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert port_of(server) in {port for _, port in listening(server)}


def test_nobody_manages_models_over_the_network(server: Server):
    """Not on the port of predictions, and not by gRPC: TorchServe opens a port for it that no setting closes."""
    for headers in ({}, {"Authorization": f"Bearer {server.token()}"}):
        for method, path in (("GET", "models"), ("POST", "models?url=x.mar"), ("DELETE", f"models/{server.model}")):
            reply = requests.request(method, f"http://127.0.0.1:{port_of(server)}/{path}", headers=headers, timeout=30)
            assert reply.status_code >= 400
    tokens = [(), (("protocol", "gRPC"), ("authorization", f"Bearer {server.token()}"))]
    for _, port in listening(server):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels")
            for metadata in tokens:
                with pytest.raises(grpc.RpcError):
                    call(b"", metadata=metadata, timeout=10)


def test_the_token_is_for_its_user_alone(server: Server):
    assert Path(server.key_file).stat().st_mode & 0o077 == 0


def test_a_port_in_use_is_said_in_one_line(server: Server, bundle: Path, tmp_path: Path):
    arguments = [f"bundle={bundle.parent}", f"output={tmp_path / 'second'}", f"port={port_of(server)}"]
    done = subprocess.run(
        [sys.executable, "-m", "serve", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: port")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "second").exists()


def test_stopping_leaves_no_process_and_no_key(server: Server):
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    folder = Path(server.key_file).parent
    assert stop(folder)
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not Path(server.key_file).exists()
    assert not Path(server.temporary).exists()
    with pytest.raises(UserError, match="no server runs"):
        Server.load(folder)
