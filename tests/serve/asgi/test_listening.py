"""Where the host listens and by which certificate; and that stopping lets the last requests be answered."""

import asyncio
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509

from foundation.errors import UserError
from foundation.polling import wait_until
from foundation.ports import free_ports
from serve.asgi import launch, listening
from serve.asgi.listening import Listening, load_pair
from serve.async_client import AsyncClient
from serve.client import Client
from serve.conversation import pinned
from serve.schema import BundleSchema, Response
from serve.server import STATE, Server, stop
from tests.serve.asgi.certificates import write_pair

PATIENT = {"report": "Atypia."}


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Any]:
    write_pair(tmp_path)
    return {"certificate": str(tmp_path / "host.crt"), "key": str(tmp_path / "host.key")}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"address": "0.0.0.0"}, "other machines reach 0.0.0.0, and patients and tokens would travel in the open"),
        ({"address": "::"}, "other machines reach ::"),
        ({"address": "localhost"}, "'localhost' is no IP address"),
        ({"certificate": "host.crt"}, "asgi.key: not given, but its other half is"),
        ({"key": "host.key"}, "asgi.certificate: not given, but its other half is"),
        ({"certificate": "none.crt", "key": "host.key"}, r"asgi.certificate: .*none\.crt: no such file"),
        ({"certificate": "host.crt", "key": "other.key"}, "no pair that can be used"),
        ({"certificate": "locked.crt", "key": "locked.key"}, "no pair that can be used"),
        ({"certificate": "host.key", "key": "host.crt"}, "no pair that can be used"),
        ({"certificate": "old.crt", "key": "old.key"}, "valid from .* to .*; get another"),
    ],
)
def test_what_would_not_protect_is_refused(tmp_path: Path, settings: dict[str, str], reason: str):
    write_pair(tmp_path)
    write_pair(tmp_path, "other")
    write_pair(tmp_path, "old", days=(-9, -1))
    write_pair(tmp_path, "locked", password=b"secret")
    files = {name: str(tmp_path / value) for name, value in settings.items() if name != "address"}
    with pytest.raises(UserError, match=reason):
        Listening(settings.get("address", "127.0.0.1"), 8080, **files)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "unencrypted", "origin"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:8080"),
        ("::1", False, "http://[::1]:8080"),
        ("0.0.0.0", True, "http://127.0.0.1:8080"),
        ("::", True, "http://[::1]:8080"),
        ("192.0.2.7", True, "http://192.0.2.7:8080"),
    ],
)
def test_this_machine_reaches_it_by_an_address_of_its_own(address: str, unencrypted: bool, origin: str):
    assert Listening(address, 8080, unencrypted=unencrypted).origin == origin


def test_with_a_certificate_other_machines_may_come(pair: dict[str, Any]):
    assert Listening("0.0.0.0", 8080, **pair).origin == "https://127.0.0.1:8080"


def test_a_renewed_certificate_is_taken_and_half_a_pair_is_not(
    tmp_path: Path, pair: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(listening, "_EVERY", 0.02)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, tmp_path / "host.crt", tmp_path / "host.key")

    async def shown(port: int) -> int:
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        data = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(data).serial_number

    async def run() -> list[int]:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        renewal = asyncio.create_task(Listening("127.0.0.1", 8080, **pair).renew(context))
        await asyncio.sleep(0.1)
        numbers = [await shown(port)]
        before = (tmp_path / "host.key").read_bytes()
        number = write_pair(tmp_path)
        after = (tmp_path / "host.key").read_bytes()
        (tmp_path / "host.key").write_bytes(before)
        while "cannot be read again" not in caplog.text:
            await asyncio.sleep(0.02)
        numbers.append(await shown(port))
        (tmp_path / "host.key").write_bytes(after)
        deadline = time.monotonic() + 10
        while (last := await shown(port)) != number and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        renewal.cancel()
        server.close()
        return [*numbers, last, number]

    first, kept, last, number = asyncio.run(run())
    assert first == kept != last == number


@pytest.mark.parametrize(("name", "passes"), [("host", True), ("neighbour", False)])
def test_who_has_another_certificate_of_the_same_issuer_is_not_the_server(tmp_path: Path, name: str, passes: bool):
    write_pair(tmp_path, "issuer")
    for one in ("host", "neighbour"):
        write_pair(tmp_path, one, issuer="issuer")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
    (tmp_path / "host.crt").write_text("subject: Krankenhaus Süd\n" + (tmp_path / "host.crt").read_text())

    async def trusted() -> bool:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=pinned(tmp_path / "host.crt"))
            writer.close()
        except ssl.SSLCertVerificationError:
            return False
        finally:
            server.close()
        return True

    assert asyncio.run(trusted()) == passes


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n\xff"])
def test_what_is_no_certificate_cannot_be_pinned(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "host.crt").write_bytes(content)
    with pytest.raises(UserError, match=r"host\.crt: no certificate in PEM"):
        pinned(tmp_path / "host.crt")


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    output = tmp_path_factory.mktemp("tls")
    write_pair(output)
    (output / "callers.json").write_text('{"clinic": {"key": "of the clinic"}}')
    files = {"certificate": "host.crt", "key": "host.key", "callers": "callers.json"}
    (port,) = free_ports(1)
    schema = BundleSchema.load(bundle)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(output)  # as a user who stands there names them
        started = launch.start(bundle.resolve(), schema, output, port, start_seconds=60, drain_seconds=10, **files)
    yield started
    if (output / STATE).is_file():
        stop(output)


@pytest.mark.process
def test_clients_of_both_kinds_ask_over_tls_by_the_server_s_own_certificate(server: Server, tmp_path: Path):
    folder = Path(server.key_file).parent
    assert server.address.startswith("https://127.0.0.1:")

    async def ask() -> Response:
        async with AsyncClient.of(folder) as client:
            return await client.predict(PATIENT, "r")

    assert Client.of(folder).predict(PATIENT, "r") == asyncio.run(ask())
    write_pair(tmp_path)
    for trust in (None, pinned(tmp_path / "host.crt")):
        with pytest.raises(UserError, match="its certificate is not trusted"):
            Client(server.address, server.token(), trust=trust).predict(PATIENT)
    with pytest.raises(UserError, match="nobody answers"):
        Client(server.address.replace("https", "http"), server.token()).predict(PATIENT)


@pytest.mark.process
def test_files_that_were_named_from_a_folder_are_reached_from_any(server: Server):
    folder = Path(server.key_file).parent
    settings = json.loads((folder / "host.json").read_text())
    assert server.certificate == settings["listening"]["certificate"] == str(folder / "host.crt")
    assert settings["listening"]["key"] == str(folder / "host.key")
    assert settings["callers"] == str(folder / "callers.json")


@pytest.mark.process
def test_callers_of_a_mounted_secret_are_known_and_change_without_a_restart(server: Server):
    path = Path(server.key_file).with_name("callers.json")
    assert Client(server.address, "of the clinic", trust=server.trust()).predict(PATIENT).modalities_used == ["report"]
    path.write_text('{"clinic": {"key": "another"}}')
    with pytest.raises(UserError, match="401"):
        Client(server.address, "of the clinic", trust=server.trust()).predict(PATIENT)
    assert Client(server.address, "another", trust=server.trust()).predict(PATIENT).modalities_used == ["report"]


@pytest.mark.process
def test_the_last_request_is_answered_when_a_service_manager_ends_all_processes(server: Server):
    """The last test of this server."""
    front = psutil.Process(server.pid)
    family = [front, *front.children(recursive=True)]
    port = int(server.address.split(":")[2].split("/")[0])
    path, body = server.address.partition(str(port))[2], b'{"report": "Atypia."}'
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token()}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    trust = server.trust()
    assert trust is not None
    with trust.wrap_socket(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(head.encode() + body[:5])
        time.sleep(0.5)  # until it is read
        for process in family:
            os.kill(process.pid, signal.SIGTERM)

        def closed() -> bool:
            with socket.socket() as other:
                return other.connect_ex(("127.0.0.1", port)) != 0

        assert wait_until(closed, every=0.05, seconds=10)
        connection.sendall(body[5:])
        reply = b""
        while part := connection.recv(65536):
            reply += part
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
