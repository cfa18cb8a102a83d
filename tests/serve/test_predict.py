"""`python -m serve.predict` as a process, against an endpoint that answers at once."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from serve.client import Client
from serve.conversation import Retries
from serve.schema import Response

ANSWER = {
    "request_id": "r1",
    "release": "0.1.0",
    "digests": {"model": "a", "contract": "b"},
    "examined": {"report": {"what": "word pieces", "examined": 5, "of": 5}},
    "model": "ours",
    "version": "1",
    "task": "biomarker",
    "prediction": {"class": "low"},
    "reliability": None,
    "synthetic": True,
    "modalities_used": ["report"],
    "modalities_ignored": [],
    "warnings": [],
}
PATIENT = {"report": "Nuclear atypia is high."}


class Endpoint(BaseHTTPRequestHandler):
    """Keeps what it is asked, and answers."""

    asked: list[tuple[str | None, Any]]
    status = 200
    headers_sent: tuple[tuple[str, str], ...] = ()
    answer = json.dumps(ANSWER).encode()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.headers["Authorization"], json.loads(body)))
        self.send_response(self.status)
        for name, value in self.headers_sent:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[type[Endpoint]]:
    """An endpoint whose server's folder is `tmp_path`."""
    endpoint = type("Asked", (Endpoint,), {"asked": []})
    web = ThreadingHTTPServer(("127.0.0.1", 0), endpoint)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    state = {
        "address": f"http://127.0.0.1:{web.server_port}/predictions/ours",
        "model": "ours",
        "version": "1",
        "pid": 0,
    }
    state |= {
        "key_file": str(tmp_path / "key.json"),
        "program": "",
        "temporary": "consilium-x",
        "log": str(tmp_path / "log"),
    }
    (tmp_path / "server.json").write_text(json.dumps(state))
    (tmp_path / "key.json").write_text('{"inference": {"key": "token"}}')
    (tmp_path / "patient.json").write_text(json.dumps(PATIENT))
    yield endpoint
    web.shutdown()
    web.server_close()


@pytest.mark.process
def test_predict_sends_the_patient_and_prints_the_answer_without_torch(server: type[Endpoint], tmp_path: Path):
    command = [sys.executable, "-X", "importtime", "-m", "serve.predict"]
    arguments = [str(tmp_path / "patient.json"), f"server={tmp_path}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ANSWER
    assert server.asked == [("Bearer token", PATIENT)]
    modules = {name.rpartition("|")[2].strip() for name in done.stderr.splitlines()}
    assert "serve.client" in modules
    assert not {"torch", "numpy", "pandas", "transformers"} & modules


def send_to(folder: Path) -> Response:
    """The patient of `server`'s folder to its endpoint."""
    address = json.loads((folder / "server.json").read_text())["address"]
    return Client(address, "token", 5, Retries(attempts=1)).predict(PATIENT)


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[1]", b"null", b"\xff"])
def test_an_answer_of_another_server_is_one_line_without_its_words(
    answer: bytes, server: type[Endpoint], tmp_path: Path
):
    server.answer = answer
    with pytest.raises(UserError, match="the answer is none of this release; start its server") as refused:
        send_to(tmp_path)
    assert "html" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (b'["busy"]', '["busy"]'),
        (b'"busy"', '"busy"'),
        (b"null", "null"),
        (b'{"detail": "a\\u001b[2J\\nb"}', "a [2J b"),
        (b'{"message": "busy"}', "busy"),
        (b'{"detail": "%s"}' % (b"x" * 5000), "x" * 1000),
    ],
)
def test_a_refusal_of_any_form_is_one_printable_line(answer: bytes, line: str, server: type[Endpoint], tmp_path: Path):
    server.answer, server.status = answer, 503
    with pytest.raises(UserError) as refused:
        send_to(tmp_path)
    assert str(refused.value) == f"the server refused the request (503): {line}"


def test_a_patient_follows_no_redirect(server: type[Endpoint], tmp_path: Path):
    address = json.loads((tmp_path / "server.json").read_text())["address"]
    server.status, server.headers_sent, server.answer = 307, (("Location", f"{address}elsewhere"),), b""
    with pytest.raises(UserError, match="307"):
        send_to(tmp_path)
    assert len(server.asked) == 1


def test_a_patient_goes_to_no_proxy_and_carries_the_servers_token(
    server: type[Endpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert send_to(tmp_path).model_dump() == ANSWER
    assert server.asked == [("Bearer token", PATIENT)]
