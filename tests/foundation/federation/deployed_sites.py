"""A federation of real processes for a test: its folder, its commands, and what must hold however they end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

SITES = ("riverside", "northgate")
PATIENCE = 400.0
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # in every process: sums in one order, so that the weights of runs compare


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(module: str, *settings: str) -> list[str]:
    return [sys.executable, "-m", module, *settings]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ONE_THREAD
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=1500, check=False)


def until(what: Callable[[], object], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.3)


@dataclass
class Running:
    """The folder of a federation, and the processes that run from it."""

    folder: Path
    cohort: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def server(self) -> Path:
        return self.folder / "server"

    @property
    def port(self) -> int:
        """That the SuperLink listens on."""
        return int(next(word for word in (self.server / "server.yaml").read_text().split() if word.isdigit()))

    def home(self, name: str) -> Path:
        """Folder of the server or a site."""
        return self.server if name == "server" else self.folder / "sites" / name

    def provision(self, *sites: str) -> None:
        done = run(
            command(
                "foundation.federation.deployment.provision",
                f"sites=[{','.join(sites)}]",
                f"port={free_port()}",
                f"data={self.cohort}",
                f"output={self.folder}",
            )
        )
        assert done.returncode == 0, done.stderr
        for site in sites:  # fewer patients than a hospital's own policy would have
            (self.home(site) / "policy.yaml").write_text("{}\n")

    def start(self, name: str) -> None:
        """`start.sh` of the server or a site, on a port of its own."""
        settings = [] if name == "server" else [f"port={free_port()}"]
        self.launch(name, ["bash", str(self.home(name) / "start.sh"), *settings])

    def launch(self, name: str, arguments: list[str], **environment: str) -> None:
        """A process of the server or a site, which leads a group of its own and writes into its folder's log."""
        with (self.home(name) / "log.txt").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                arguments,
                stdout=log,
                stderr=log,
                env=os.environ | ONE_THREAD | {"VENV": str(Path(sys.executable).parent.parent)} | environment,
                start_new_session=True,
            )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends a process and all that it started."""
        process = self.processes.pop(name)
        os.killpg(process.pid, number)
        process.wait(PATIENCE)

    def log(self, name: str) -> str:
        path = self.home(name) / "log.txt"
        return path.read_text(errors="replace") if path.is_file() else ""

    def status(self) -> dict[str, str]:
        done = run(command("foundation.federation.deployment.superlink", f"server={self.server}", "action=nodes"))
        return {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if len(line.split()) == 3}

    def online(self, *sites: str) -> bool:
        found = self.status()
        return all(found.get(site) == "online" for site in sites)

    def pretrain(self, output: Path, *overrides: str) -> list[str]:
        """The command of a small run."""
        return command(
            "pretrain.federated",
            "experiment=demo",
            "data.batch_size=8",
            f"data.folder={self.cohort}",
            f"sites=[{','.join(SITES)}]",
            "data.test_hospitals=[]",
            "rounds=2",
            "steps_per_round=2",
            f"output={output}",
            *overrides,
        )

    def deployed(self, output: Path, *overrides: str) -> list[str]:
        """The same over this federation."""
        return self.pretrain(output, "federation=deployment", f"federation.server={self.server}", *overrides)


def last_error(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert lines, stderr[-2000:]
    return lines[-1]


def final(output: Path) -> dict[str, np.ndarray]:
    """Weights after the second round."""
    return load_file(output / "rounds" / "round_0002.safetensors")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether weights are equal to the last bit."""
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)
