"""CPU seconds (user and system) of every command's `--help`, and of `serve.predict` asking an endpoint.

`python scripts/bench/help.py` starts each command of the catalogue in a process of its own, as `python -m`, and takes
the median of five. The endpoint is a stub in this process that answers at once, so that what counts is the client.
Beside them, in the same run: Python that does nothing, and Python that imports torch, which every help waited for once.
The bars are 2 s for a help and 1 s for `serve.predict`. Ends with code 1 where one is missed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from foundation.catalogue import ENTRIES

HELP_BAR, PREDICT_BAR = 2.0, 1.0
ANSWER = {"model": "m", "version": "1", "task": "t", "prediction": {"class": "a", "probabilities": {"a": 1.0}}}
ANSWER |= {"modalities_used": ["report"], "modalities_ignored": [], "warnings": [], "synthetic": True}
ANSWER |= {"request_id": "1", "release": "0", "digests": {"model": "0", "contract": "0"}}
ANSWER |= {"examined": {"report": {"what": "word pieces", "examined": 1, "of": 1}}}


class Endpoint(BaseHTTPRequestHandler):
    """Answers every patient alike."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


def cpu_seconds(command: list[str], repeats: int) -> float:
    """Median over processes of what each used; one that fails ends the benchmark."""
    seconds = []
    with open(os.devnull, "w") as nowhere:
        for _ in range(repeats):
            actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)]
            process = os.posix_spawn(sys.executable, [sys.executable, *command], os.environ, file_actions=actions)
            _, status, usage = os.wait4(process, 0)
            if status:
                sys.exit(f"python {' '.join(command)}: ended with code {os.waitstatus_to_exitcode(status)}")
            seconds.append(usage.ru_utime + usage.ru_stime)
    return statistics.median(seconds)


def row(name: str, seconds: float, bar: float | None = None) -> str:
    missed = "" if bar is None or seconds < bar else f"  over {bar:g}"
    return f"{seconds:7.2f}  {name}{missed}"


def predict(folder: Path, repeats: int) -> float:
    """CPU seconds of `serve.predict`, whole: start, request, answer."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state = {"address": f"http://127.0.0.1:{server.server_port}/predictions/m", "model": "m", "version": "1", "pid": 0}
    state |= {
        "key_file": str(folder / "key.json"),
        "program": "",
        "temporary": "consilium-x",
        "log": str(folder / "log"),
    }
    (folder / "server.json").write_text(json.dumps(state))
    (folder / "key.json").write_text('{"inference": {"key": "token"}}')
    (folder / "patient.json").write_text('{"report": "Nuclear atypia is high."}')
    try:
        return cpu_seconds(["-m", "serve.predict", str(folder / "patient.json"), f"server={folder}"], repeats)
    finally:
        server.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="processes a command (default 5)")
    repeats = parser.parse_args().repeats
    print("CPU s    command")
    print(row("python -c pass", cpu_seconds(["-c", "pass"], repeats)))
    print(row("python -c 'import torch'", cpu_seconds(["-c", "import torch"], repeats)))
    print(row("consilium", cpu_seconds(["-m", "foundation.cli"], repeats), HELP_BAR), flush=True)
    helps = {}
    for entry in ENTRIES.values():
        helps[entry.typed] = cpu_seconds([*entry.typed.split()[1:], "--help"], repeats)
        print(row(f"{entry.typed} --help", helps[entry.typed], HELP_BAR), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        asked = predict(Path(folder), repeats)
    print(row("python -m serve.predict patient.json", asked, PREDICT_BAR))
    worst = max(helps, key=helps.__getitem__)
    print(f"serve.predict: {asked:.2f} s of CPU, bar {PREDICT_BAR:g}")
    print(f"worst help: {helps[worst]:.2f} s of CPU ({worst}), bar {HELP_BAR:g}")
    return int(helps[worst] >= HELP_BAR or asked >= PREDICT_BAR)


if __name__ == "__main__":
    sys.exit(main())
