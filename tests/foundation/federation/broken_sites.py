"""Hospitals whose orders go wrong, over real processes, and what must hold after any fault."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from safetensors.numpy import load_file

from tests.foundation.federation.cable import Cable
from tests.foundation.federation.deployed_sites import SITES, Running, command, free_port, run, until

ALL = (*SITES, "lakeview")
_ROOT = Path(__file__).resolve().parents[3]
_NODE = (
    "from foundation.federation.deployment import orders, supernode; "
    "orders.PRELOADED.append('tests.foundation.federation.faulty_site'); supernode.main()"
)


@dataclass
class Federation(Running):
    """A SuperLink and hospitals whose orders can go wrong: see `faulty_site`. Northgate is at the end of a cable."""

    cable: Cable = field(init=False)

    def build(self) -> None:
        """Writes the folders and starts all processes."""
        self.provision(*ALL)
        mounted = self.home("northgate") / "cohort"  # a copy of its own, which a fault may touch
        shutil.copytree(self.cohort, mounted)
        declared = self.home("northgate") / "site.yaml"
        declared.write_text(declared.read_text().replace(str(self.cohort), str(mounted)))
        self.cable = Cable(self.port)
        self.start("server")
        for site in ALL:
            self.join(site)

    def join(self, site: str) -> None:
        """Starts a hospital's node."""
        home, near = self.home(site), self.cable.port if site == "northgate" else self.port
        files = {"site": "site.yaml", "certificate": "ca.pem", "key": "node.key", "secret": "runtime.secret"}
        settings = [f"{key}={home / name}" for key, name in files.items()]
        arguments = [sys.executable, "-c", _NODE, *settings, f"superlink=127.0.0.1:{near}", f"port={free_port()}"]
        self.launch(site, arguments, PYTHONPATH=str(_ROOT))

    def leave(self, site: str) -> None:
        """Stops it in good order."""
        self.kill(site, signal.SIGTERM)
        until(lambda: self.status().get(site) == "offline")

    def plan(self, site: str, faults: dict[int, str]) -> None:
        """What goes wrong at a hospital, by round."""
        home = self.home(site)
        for name in ("held", "go"):
            (home / name).unlink(missing_ok=True)
        (home / "plan.json").write_text(json.dumps(faults))

    def await_hold(self, site: str) -> None:
        """Waits until the hospital has its order and holds it."""
        until(lambda: (self.home(site) / "held").is_file())
        (self.home(site) / "held").unlink()

    def let_go(self, site: str) -> None:
        """Lets the hospital work on."""
        (self.home(site) / "go").touch()
        until(lambda: not (self.home(site) / "go").is_file())

    def updates(self, site: str) -> int:
        """How many a hospital has sent, as its ledger says."""
        return len(re.findall('"kind":"update"', (self.home(site) / "ledger.jsonl").read_text()))

    def server_process(self) -> psutil.Process:
        """Of the run that the SuperLink works on."""
        started = psutil.Process(self.processes["server"].pid).children(recursive=True)
        (found,) = [process for process in started if "flwr-serverapp" in " ".join(process.cmdline())]
        return found


@contextmanager
def started(arguments: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A command in the background, of which nothing is left."""
    with log.open("w") as file:
        process = subprocess.Popen(arguments, stdout=file, stderr=file)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def rounds_of(output: Path) -> list[dict[str, Any]]:
    """The rounds that a run has finished."""
    path = output / "history.json"
    return list(json.loads(path.read_text())["rounds"]) if path.is_file() else []


def check_books(running: Federation, output: Path) -> None:
    """The server's ledger and those of all sites verify, and the last finished round is there to go on from."""
    ledgers = [output / "ledger.jsonl", *sorted((running.folder / "sites").glob("*/ledger.jsonl"))]
    done = run(command("foundation.federation.ledger", "verify", f"ledgers=[{','.join(map(str, ledgers))}]"))
    assert done.returncode == 0, done.stderr
    assert load_file(output / "rounds" / f"round_{len(rounds_of(output)):04d}.safetensors")


def one_error(said: str) -> str:
    """The one line that a command ended with."""
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said[-3000:]
    return lines[0]
