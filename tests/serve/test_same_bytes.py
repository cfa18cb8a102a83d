"""The same requests over TorchServe's REST and gRPC, the default host's REST and its Open Inference Protocol: the same
bytes come back.

Each host holds the bundle in one worker of one thread, and each request is asked alone: what is together in a batch
changes the order of sums, and with it a number's last digit.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import requests

from foundation.data.cohort import Cohort
from foundation.ports import free_ports
from serve.asgi import launch
from serve.bundle import write_archive
from serve.client import to_request
from serve.schema import BundleSchema
from serve.server import Server, stop
from serve.torchserve import server as torchserve

pytestmark = pytest.mark.process
SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"
ID = "the-same-request"


@pytest.fixture(scope="module")
def schema(bundle: Path) -> BundleSchema:
    return BundleSchema.load(bundle)


@pytest.fixture(scope="module")
def hosts(
    bundle: Path, schema: BundleSchema, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """TorchServe and the default host."""
    folders = [tmp_path_factory.mktemp(name) for name in ("torchserve", "asgi")]
    first, second = free_ports(2)
    archive = write_archive(bundle, schema, tmp_path_factory.mktemp("archive"))
    started = torchserve.start(archive, schema, folders[0], first, batch_delay_ms=0)
    try:
        yield started, launch.start(bundle, schema, folders[1], second)
        stop(folders[1])
    finally:
        stop(folders[0])


@pytest.fixture(scope="module")
def bodies(schema: BundleSchema, cohort: Cohort, complete: str) -> dict[str, bytes]:
    """The contract: a patient whole, by modality and in pairs, and what is refused."""
    request = to_request(cohort.sample(complete), schema)
    names = list(request)
    parts = [names, *([name] for name in names), *([one, two] for one, two in pairwise(names))]
    answered = {" and ".join(part): json.dumps({name: request[name] for name in part}).encode() for part in parts}
    refused = [
        b"{",
        b"[]",
        b'{"report": 3}',
        b'{"record": {"age": NaN}}',
        b'{"report": "a", "report": "b"}',
        b'{"x": 1}',
    ]
    refused += [b"{}", b'{"record": {"age": 1e22}}', b'{"pathology": ["?"]}', b'{"genomics": {"unit": "furlong"}}']
    return answered | {text.decode(): text for text in refused}


def over_rest(server: Server, body: bytes) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {server.token()}", "Content-Type": "application/json", "X-Request-ID": ID}
    reply = requests.post(server.address, data=body, headers=headers, timeout=60)
    return reply.status_code, reply.content


def over_protocol(server: Server, body: bytes, answered: bool) -> tuple[int, bytes]:
    """By KServe's Open Inference Protocol, whose ids are the call's with the patient's place behind.

    What is refused is sent beside a patient who is answered, for it has another form of error where nobody is.
    """
    address = server.address.replace(f"/predictions/{server.model}", f"/v2/models/{server.model}/infer")
    data = [body.decode(), *([] if answered else ['{"report": "Atypia."}'])]
    tensor = {"name": "patient", "shape": [len(data)], "datatype": "BYTES", "data": data}
    headers = {"Authorization": f"Bearer {server.token()}"}
    reply = requests.post(address, json={"id": ID, "inputs": [tensor]}, headers=headers, timeout=60)
    assert reply.status_code == 200, reply.text
    outputs = {output["name"]: output["data"][0] for output in reply.json()["outputs"]}
    return outputs["status"], with_id(outputs["answer"].encode())


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in the wire format of Protocol Buffers."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def field_of(message: bytes) -> bytes:
    """The first field's bytes, of a message that has one."""
    size, shift, place = 0, 0, 1
    while True:
        size |= (message[place] & 127) << shift
        shift, place = shift + 7, place + 1
        if message[place - 1] < 128:
            return message[place : place + size]


def over_grpc(server: Server, port: int, body: bytes) -> bytes:
    """TorchServe's own service. It takes no header, so the id is its own: another in the same place."""
    message = field(1, server.model.encode()) + field(3, field(1, b"data") + field(2, body))
    metadata = (("protocol", "gRPC"), ("authorization", f"Bearer {server.token()}"))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        reply = channel.unary_unary(f"{SERVICE}/Predictions")(message, metadata=metadata, timeout=60)
    return with_id(field_of(reply))


def with_id(answer: bytes) -> bytes:
    """The same answer under the id of the others: nothing else of it changes."""
    found = str(json.loads(answer)["request_id"])
    return answer.replace(json.dumps(found).encode(), json.dumps(ID).encode(), 1)


def grpc_port(server: Server) -> int:
    """Where TorchServe's predictions listen; it takes whatever port is free."""
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    found = [connection for process in family for connection in process.net_connections(kind="inet")]
    for port in {entry.laddr.port for entry in found if entry.status == psutil.CONN_LISTEN}:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                metadata = (("protocol", "gRPC"), ("authorization", f"Bearer {server.token()}"))
                channel.unary_unary(f"{SERVICE}/Ping")(b"", metadata=metadata, timeout=5)
            except grpc.RpcError:
                continue
            return port
    raise AssertionError("no gRPC port")


def test_hosts_and_protocols_answer_the_same_bytes(hosts: tuple[Server, Server], bodies: dict[str, bytes]):
    old, new = hosts
    port = grpc_port(old)
    others: dict[str, Any] = {}
    for name, body in bodies.items():
        status, answer = over_rest(new, body)
        others = {
            "TorchServe": over_rest(old, body),
            "Open Inference Protocol": over_protocol(new, body, status == 200),
        }
        for host, found in others.items():
            assert found == (status, answer), (name, host)
        # TorchServe has no status of a request over gRPC: whether it is refused the problem's own `status` says.
        assert over_grpc(old, port, body) == answer, (name, "gRPC")
        assert status == 200 or status in (400, 422)
    assert len(bodies) == 20


def test_grpc_answers_nobody_without_the_token(hosts: tuple[Server, Server]):
    old, _ = hosts
    message = field(1, old.model.encode()) + field(3, field(1, b"data") + field(2, b'{"report": "Atypia."}'))
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port(old)}") as channel:
        for token in ("", "guessed"):
            metadata = (("protocol", "gRPC"), ("authorization", f"Bearer {token}"))
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"{SERVICE}/Predictions")(message, metadata=metadata, timeout=30)
