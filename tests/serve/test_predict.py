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

ANSWER = {
    "request_id": "r1",
    "release": "0.1.0",
    "digests": {"model": "a", "contract": "b"},
    "examined": {"report": {"what": "word pieces", "examined": 5, "of": 5}},
    "model": "ours",
    "version": "1",
    "task": "biomarker",
    "prediction": {"class": "low"},
    "synthetic": True,
    "modalities_used": ["report"],
    "modalities_ignored": [],
    "warnings": [],
}
PATIENT = {"report": "Nuclear atypia is high."}


class Endpoint(BaseHTTPRequestHandler):
    """Keeps what it is asked, and answers."""

    asked: list[tuple[str | None, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.headers["Authorization"], json.loads(body)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWER).encode())

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[type[Endpoint]]:
    """An endpoint whose server's folder is `tmp_path`."""
    endpoint = type("Asked", (Endpoint,), {"asked": []})
    web = ThreadingHTTPServer(("127.0.0.1", 0), endpoint)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    state = {"address": f"http://127.0.0.1:{web.server_port}/", "model": "ours", "version": "1", "pid": 0}
    state |= {"key_file": str(tmp_path / "key.json"), "temporary": "", "log": ""}
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
