"""Memory of a federation's server by the number of sites: a real SuperLink and SuperNodes over TLS, a large model.

`python scripts/bench/server_memory.py --sites 2 8` provisions a federation, starts its SuperLink and a SuperNode a
site, and lets `python -m pretrain.federated federation=deployment` run two rounds of a model of about 500 MB over them.
The sites train nothing: this process answers for all, one after another, with a change of every parameter, so that what
is measured is the server's part. Prints the peak resident memory (VmHWM) of the run's server process and of the
SuperLink in sizes of the model: what came on top of idle memory, and last all of it. The bar for the run's server
process is 2.5 models in all, whatever the number of sites.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import foundation  # noqa: F401  # isort: skip
import httpx
import psutil
from commands import run
from federation_overhead import free_ports, started
from flwr.app import Message, MessageType

from foundation.federation.deployment.runtime_client import ClaimedOrder, OrderQueue
from foundation.federation.groups import group_of
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.seal import read_private, sealed
from foundation.federation.planning import installed_tasks, settings_of
from foundation.federation.wire.messages import RECEIPT, Reply, answering, pack_reply, unpack_order

MB = 1e6
BAR = 2.5
SERVER = "server process"
MODEL = [
    "encoder=base",
    "~modality.radiology",
    "~modality.report",
    "modality.pathology.backbone=vit_base_patch16_224",
    "modality.pathology.size=224",
]


class Site:
    """A hospital whose SuperNode is real, and whose work is to answer at once.

    Args:
        home: its provisioned folder.
        superlink: port of it.
        port: of the SuperNode's interface on loopback.
    """

    def __init__(self, home: Path, superlink: int, port: int) -> None:
        self.name = home.name
        self.number = 1 + int(home.name.removeprefix("site"))
        self.runtime = f"127.0.0.1:{port}"
        command = [
            *(
                sys.executable,
                "-m",
                "foundation.federation.deployment.node_process",
                "--superlink",
                f"127.0.0.1:{superlink}",
            ),
            *("--root-certificates", str(home / "ca.pem"), "--auth-supernode-private-key", str(home / "node.key")),
            *("--isolation", "process", "--superexec-auth-secret-file", str(home / "runtime.secret")),
            *("--host", "127.0.0.1", "--port", str(port), "--node-config", f'site="{home / "site.yaml"}"'),
        ]
        with (home / "log.txt").open("wb") as log:
            environment = os.environ | {"FLWR_HOME": str(home / "flower")}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self.queue = OrderQueue(self.runtime, (home / "runtime.secret").read_bytes())
        self.ledger = Ledger.open(home / "bench.jsonl", self.name)
        self.key = read_private(home / "node.key")

    def serve(self) -> str | None:
        """Answers an order, if there is one, and says of what kind it was."""
        try:
            token = self.queue.claim()
        except httpx.TransportError:
            return None  # the SuperNode still starts
        if not token:
            return None
        order = ClaimedOrder(self.runtime, token)
        with order.kept_alive():
            message, context, _ = order.read()
            answer = answering(pack_reply(self._signed(self._reply(message))), message.content)
            order.answer(Message(answer, reply_to=message), context)
        return message.metadata.message_type

    def _signed(self, reply: Reply) -> Reply:
        """With the head of this site's ledger, as every answer of a deployed site has it."""
        self.ledger.append("update", "out")
        receipt = sealed(self.key, self.name, self.ledger.length, self.ledger.head)
        return replace(reply, facts={"head": self.ledger.head, RECEIPT: receipt.text()})

    def _reply(self, message: Message) -> Reply:
        if message.metadata.message_type == MessageType.QUERY:
            return Reply(self.name)
        order = unpack_order(message.content, settings_of(installed_tasks()))
        if message.metadata.message_type == MessageType.EVALUATE:
            return Reply(self.name, metrics={"patients": 5.0, "seconds": 0.0})
        # Of every site another one, and no two parts alike: Flower carries equal parts once.
        change = {name: (value * self.number * 1e-3).astype(value.dtype) for name, value in order.weights.items()}
        samples = {group_of(name): 1 for name in change}
        return Reply(self.name, change, samples=samples, metrics={"seconds": 0.0})


class Peaks:
    """Resident memory of processes that come and go, watched from a thread.

    Args:
        superlink: whose process it is; the run's server process is a child of it.
    """

    def __init__(self, superlink: psutil.Process) -> None:
        self.superlink = superlink
        self.idle: dict[str, float] = {}
        self.peak: dict[str, float] = {}
        self.now: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def note_idle(self) -> None:
        """What the processes take before the first weights travel."""
        if not self.idle:
            self.idle = dict(self.now)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the run is on."""
        self._thread.start()
        yield
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for name, process in self._processes():
                try:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                except OSError:
                    continue
                if "VmHWM" in status:
                    self.peak[name] = max(self.peak.get(name, 0.0), _megabytes(status, "VmHWM"))
                    self.now[name] = _megabytes(status, "VmRSS")

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        try:
            for process in [self.superlink, *self.superlink.children(recursive=True)]:
                line = " ".join(process.cmdline())
                if "foundation.federation.deployment.superlink" in line:
                    yield "SuperLink", process
                elif "serverapp" in line:
                    yield SERVER, process
        except psutil.NoSuchProcess:
            return


def _megabytes(status: str, field: str) -> float:
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith(field))
    return int(kibibytes) * 1024 / MB


def measure(folder: Path, cohort: Path, count: int, overrides: list[str]) -> tuple[float, Peaks, float]:
    """Size of the model in MB, memory by process, and seconds of a round."""
    federation = folder / f"federation_{count}"
    names = [f"site{number}" for number in range(count)]
    port, *ports = free_ports(1 + count)
    run(
        "foundation.federation.deployment.provision",
        f"sites=[{','.join(names)}]",
        f"port={port}",
        f"output={federation}",
    )
    superlink = started(federation / "server", [])
    sites: list[Site] = []
    try:
        time.sleep(8)  # it must be up when the nodes come
        sites = [
            Site(federation / "sites" / name, port, node_port) for name, node_port in zip(names, ports, strict=True)
        ]
        peaks = Peaks(psutil.Process(superlink.pid))
        command = [
            *(sys.executable, "-m", "pretrain.federated", "federation=deployment", "experiment=demo", *MODEL),
            *(f"federation.server={federation}/server", f"sites=[{','.join(names)}]", "data.test_hospitals=[]"),
            *(f"data.folder={cohort}", "rounds=2", "steps_per_round=1", f"output={folder}/run_{count}", *overrides),
        ]
        log = (folder / f"run_{count}.txt").open("wb")
        with peaks.watched():
            began = time.monotonic()
            running = subprocess.Popen(command, stdout=log, stderr=log)
            while running.poll() is None:
                for site in sites:
                    kind = site.serve()
                    if kind == MessageType.QUERY:
                        peaks.note_idle()
                    if kind:
                        print(f"    {time.monotonic() - began:6.1f} s: {site.name} {kind}: {peaks.now}", flush=True)
                time.sleep(0.05)
            seconds = time.monotonic() - began
        if running.returncode:
            sys.exit((folder / f"run_{count}.txt").read_text()[-3000:])
    finally:
        for site in sites:
            site.process.kill()
        os.killpg(superlink.pid, signal.SIGTERM)
        superlink.wait(30)
    path = folder / f"run_{count}" / "rounds" / "round_0002.safetensors"
    return path.stat().st_size / MB, peaks, seconds / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--overrides", nargs="*", default=[], help="of pretrain.federated")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    folder = Path(tempfile.mkdtemp(prefix="consilium-bench-"))
    cohort = folder / "cohort"
    run("foundation.data prepare", "cohort=demo", f"cohort.root={folder}/raw", f"output={cohort}")
    for count in arguments.sites:
        size, peaks, seconds = measure(folder, cohort, count, arguments.overrides)
        print(f"{count} sites, model {size:.0f} MB, {seconds:.0f} s a round")
        for name in ("SuperLink", SERVER):
            peak, idle = peaks.peak[name], peaks.idle[name]
            print(f"  {name}: idle {idle:.0f} MB, beside that {(peak - idle) / size:.2f} models", end="; ")
            print(f"peak {peak:.0f} MB, {peak / size:.2f} models", end=f" (bar {BAR})\n" if name == SERVER else "\n")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
