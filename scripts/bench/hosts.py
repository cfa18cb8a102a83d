"""Hosts of one bundle side by side: the two of this project, plain FastAPI and plain LitServe, interleaved in one run.

    python scripts/bench/hosts.py runs/demo/export

LitServe is measured where it is installed (`pip install litserve`); all hosts may batch as many requests as the default
host does. Printed: seconds from the start to the first right answer, memory of the largest process (PSS: with its share
of what several have; RSS: with all of that) and of all of a host's (PSS), a lone request's median beside the in-process
predictor's, requests a second of 32 clients and the processor time that a host's processes take for one of them; what
the predictor alone answers in full batches, on one core and on all at once; last, the figures beside their bars. A
median of rounds, each of which asks every host.
"""

import argparse
import http.client
import importlib.util
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from foundation.polling import wait_until
from foundation.ports import free_ports
from serve.asgi import launch
from serve.asgi.pool import Limits
from serve.schema import BundleSchema
from serve.server import Server, stop
from serve.torchserve import server as torchserve

CLIENTS = 32
BATCH = Limits().batch_size
_LOADED: Barrier  # of the processes that measure the ceiling together
PLAIN = Path(__file__).with_name("plain_hosts.py")


@dataclass
class Host:
    """A running host.

    Attributes:
        name: of the row.
        address: of its predictions.
        token: that it asks for.
        pid: of its first process.
        start: seconds to its first right answer.
        lone: seconds of lone requests.
        rates: requests a second of many clients.
        costs: seconds of processor time for each of these.
    """

    name: str
    address: str
    token: str
    pid: int
    start: float
    lone: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def connect(self) -> Callable[[bytes], int]:
        """A client with a connection of its own."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

        def ask(body: bytes) -> int:
            connection.request("POST", parts.path, body, headers)
            reply = connection.getresponse()
            reply.read()
            return reply.status

        return ask

    def family(self) -> list[psutil.Process]:
        """Its processes."""
        return [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]

    def processor_seconds(self) -> float:
        """That its processes have taken."""
        return sum(sum(process.cpu_times()[:2]) for process in self.family())

    def memory(self) -> tuple[float, float, float]:
        """MiB of its largest Python process, its share of what it shares counted, and resident; the former of all."""
        sizes = {process: process.memory_full_info() for process in self.family() if process.is_running()}
        largest = max(
            (size for process, size in sizes.items() if "java" not in process.name()), key=lambda one: one.pss
        )
        return largest.pss / 2**20, largest.rss / 2**20, sum(size.pss for size in sizes.values()) / 2**20


def lone_requests(host: Host, body: bytes, count: int) -> None:
    ask = host.connect()
    ask(body)
    for _ in range(count):
        begun = time.perf_counter()
        assert ask(body) == 200
        host.lone.append(time.perf_counter() - begun)


def many_clients(host: Host, body: bytes, count: int) -> None:
    clients = [host.connect() for _ in range(CLIENTS)]

    def use(ask: Callable[[bytes], int]) -> list[int]:
        return [ask(body) for _ in range(count)]

    with ThreadPoolExecutor(CLIENTS) as threads:
        begun, before = time.perf_counter(), host.processor_seconds()
        statuses = [status for part in threads.map(use, clients) for status in part]
    assert set(statuses) == {200}, set(statuses)
    host.rates.append(len(statuses) / (time.perf_counter() - begun))
    host.costs.append((host.processor_seconds() - before) / len(statuses))


def start_ours(name: str, export: Path, output: Path, stack: ExitStack, port: int) -> Host:
    schema = BundleSchema.load(export / "bundle")
    begun = time.perf_counter()
    if name == "asgi":
        server: Server = launch.start(export / "bundle", schema, output, port)
    else:
        server = torchserve.start(export / f"{schema.name}.mar", schema, output, port, batch_size=BATCH)
    stack.callback(stop, output)
    return Host(name, server.address, server.token(), server.pid, begun)


def start_plain(name: str, export: Path, stack: ExitStack, port: int) -> Host:
    begun = time.perf_counter()
    command = [sys.executable, str(PLAIN), name, str(export / "bundle"), str(port), str(BATCH)]
    process = subprocess.Popen(command)

    def end() -> None:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.wait()

    stack.callback(end)
    return Host(name, f"http://127.0.0.1:{port}/predict", "", process.pid, begun)


def wait_for_answer(host: Host, body: bytes) -> None:
    def answers() -> bool:
        try:
            return host.connect()(body) == 200
        except (OSError, http.client.HTTPException):
            return False

    assert wait_until(answers, every=0.05, seconds=180), host.name
    host.start = time.perf_counter() - host.start


def in_process(bundle: Path, body: bytes) -> Callable[[], float]:
    import torch

    from serve import host
    from serve.predictor import Predictor

    torch.set_num_threads(1)
    predictor = Predictor.load(bundle)

    def ask() -> float:
        begun = time.perf_counter()
        host.answer(predictor, [host.Call(body, {}, "r")])
        return time.perf_counter() - begun

    ask()
    return ask


def take_barrier(barrier: Barrier) -> None:
    """Has a process wait for the others once it has loaded its model."""
    global _LOADED
    _LOADED = barrier


def full_batches(bundle: Path, body: bytes, seconds: float) -> float:
    """Requests a second that a predictor answers in full batches, in a process of its own."""
    import torch

    from serve import host
    from serve.predictor import Predictor

    torch.set_num_threads(1)
    predictor, calls = Predictor.load(bundle), [host.Call(body, {}, "r")] * BATCH
    host.answer(predictor, calls)
    _LOADED.wait()
    begun, count = time.time(), 0
    while time.time() - begun < seconds:
        count += len(host.answer(predictor, calls))
    return count / (time.time() - begun)


def ceiling(bundle: Path, body: bytes, processes: int, seconds: float = 8) -> float:
    """The same of several at once: what no host of the predictor can exceed on so many cores."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, take_barrier, (barrier,)) as pool:
        return sum(pool.map(full_batches, *zip(*[(bundle, body, seconds)] * processes, strict=True)))


def report(hosts: list[Host], direct: list[float], most: tuple[float, float]) -> None:
    alone = statistics.median(direct) * 1000
    print(f"in process: median {alone:.1f} ms")
    rows = {}
    for host in hosts:
        shared, resident, total = host.memory()
        lone = statistics.median(host.lone) * 1000
        rate = statistics.median(host.rates)
        rows[host.name] = (lone, rate, resident)
        print(
            f"{host.name:10s} first answer {host.start:5.1f} s, worker {shared:4.0f} MiB (RSS {resident:.0f}), "
            f"all {total:5.0f} MiB, lone {lone:6.1f} ms, "
            f"{CLIENTS} clients {rate:6.1f} a second, {statistics.median(host.costs) * 1000:.2f} ms of processor each"
        )
    alone_on, together_on = most
    cores = os.cpu_count() or 1
    print(
        f"predictor alone, batches of {BATCH}: {alone_on:.0f} a second on one core, {together_on:.0f} on {cores} at "
        f"once ({together_on / rows['fastapi'][1]:.1f} times fastapi)"
    )
    lone, rate, resident = rows["asgi"]
    print(f"lone request: {lone:.1f} ms (bar: {1.3 * alone + 5:.1f} ms, 1.3 times the predictor's and 5 ms)")
    print(f"first right answer: {hosts[0].start:.1f} s (bar: 8 s); worker: {resident:.0f} MiB resident (bar: 400)")
    for name, bar in (("litserve", 1.2), ("fastapi", 5.0), ("torchserve", 1.0)):
        if name in rows:
            print(f"requests a second: {rate / rows[name][1]:.2f} times those of {name} (bar: {bar:g})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="output folder of python -m serve.export")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lone", type=int, default=20, help="lone requests a round")
    parser.add_argument("--each", type=int, default=5, help="requests of each of 32 clients a round")
    parser.add_argument("--body", default='{"report": "Nuclear atypia is high.", "record": {"age": 61}}')
    arguments = parser.parse_args()
    json.loads(arguments.body)
    body = arguments.body.encode()
    names = ["fastapi", *(["litserve"] if importlib.util.find_spec("litserve") else [])]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hosts = []
        for name, port in zip(["asgi", "torchserve", *names], free_ports(2 + len(names)), strict=True):
            if name in ("asgi", "torchserve"):
                hosts.append(start_ours(name, arguments.export, scratch / name, stack, port))
            else:
                hosts.append(start_plain(name, arguments.export, stack, port))
            wait_for_answer(hosts[-1], body)
        ask = in_process(arguments.export / "bundle", body)
        direct: list[float] = []
        for _ in range(arguments.rounds):
            direct += [ask() for _ in range(arguments.lone)]
            for host in hosts:
                lone_requests(host, body, arguments.lone)
            for host in hosts:
                many_clients(host, body, arguments.each)
        bundle = arguments.export / "bundle"
        report(hosts, direct, (ceiling(bundle, body, 1), ceiling(bundle, body, os.cpu_count() or 1)))


if __name__ == "__main__":
    main()
