"""Good requests beside hostile ones, a worker killed now and then: who is answered, and what it costs the host.

    python scripts/bench/hostile.py runs/demo/export --seconds 600 --kill-every 30
    python scripts/bench/hostile.py runs/demo/export --seconds 1800 --kill-every 0    # memory over 50,000 requests

Starts the default host. Good senders ask without a pause and hold each answer against the predictor's own; hostile ones
send broken, huge and slow bodies, with a token and without, in every form that the host takes, and leave connections
open. Printed last: the share of good requests that got the right answer (bar: 99.9 %); before it, wrong answers, 5xx
outside the ten seconds after a kill, the longest recoveries, memory of front and workers and how it grew (which without
kills tells of leaks), and patient values in logs.
"""

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parent))
from hostile_requests import SAME, hostile

from foundation.ports import free_ports
from serve.asgi import launch
from serve.bundle import largest_difference
from serve.predictor import Predictor
from serve.reading import MOST_BYTES
from serve.schema import BundleSchema, Response
from serve.server import Server, stop

WORD = "Kryptonite"  # of a patient: must stand in no file of the host
KILLS_OF_MAKER = 4  # of so many kills of a worker, one takes the process that workers are copied from, too
WINDOW = 10.0  # seconds after a kill in which 5xx are no fault


@dataclass
class Tally:
    """What was seen."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)  # good requests, by what they got
    hostile: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)  # 5xx outside the window, and hostile requests answered
    kills: list[float] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)  # of each kill, in order
    memory: dict[str, list[float]] = field(default_factory=lambda: {"front": [], "worker": []})  # MiB, by time

    def in_window(self) -> bool:
        return bool(self.kills) and time.monotonic() - self.kills[-1] < WINDOW


def good_requests(export: Path) -> list[dict[str, Any]]:
    """The example patient, whole and modality by modality."""
    patient = json.loads((export / "patient.json").read_text())
    parts = [{name: value} for name, value in patient.items()]
    return [
        patient,
        *parts,
        {"report": f"{WORD}. Nuclear atypia is high.", "record": patient.get("record", {"age": 61})},
    ]


def bodies() -> list[tuple[str, bytes, str]]:
    """Hostile ones: path (of the predictions, or of the second protocol), body and content type."""
    plain = [("", body.encode("utf-8", "surrogatepass"), "application/json") for body in hostile()]
    wild = json.dumps({"inputs": [{"name": "patient", "shape": [1], "datatype": "BYTES", "data": ["{"] * 3}]}).encode()
    deep = b'{"resourceType": "Bundle", "entry": [' + b'{"resource": ' * 5000
    named = json.dumps({"report": [WORD], "record": {"age": WORD}}).encode()
    return [
        *plain,
        ("", named, "application/json"),
        ("", named, "text/plain"),
        ("", deep, "application/fhir+json"),
        (
            "",
            b'{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]}',
            "application/fhir+json",
        ),
        ("infer", wild, "application/json"),
        ("infer", b'{"inputs": ' + b"[" * 200_000, "application/json"),
        ("infer", b"x" * (1 << 20), "application/json"),
        ("", b'{"report": "' + b"\\u0041" * (MOST_BYTES // 6 - 10) + b'"}', "application/json"),
    ]


async def ask_well(server: Server, requests: list[Any], expected: list[Any], tally: Tally, until: float) -> None:
    headers = {"Authorization": f"Bearer {server.token()}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(trust_env=False, timeout=130) as client:
        while time.monotonic() < until:
            place = random.randrange(len(requests))
            sent = time.monotonic()
            reply = await client.post(server.address, content=json.dumps(requests[place]), headers=headers)
            if reply.status_code != 200:
                tally.refused[str(reply.status_code)] += 1
                if reply.status_code >= 500 and not tally.in_window():
                    tally.faults[f"{reply.status_code} to a good request"] += 1
                await asyncio.sleep(0.2)
                continue
            if largest_difference(reply.json()["prediction"], expected[place]) > SAME:
                tally.wrong.append(reply.text[:200])
            tally.right += 1
            if len(tally.recoveries) < len(tally.kills) and sent > tally.kills[-1]:
                tally.recoveries.append(time.monotonic() - tally.kills[-1])


async def ask_badly(server: Server, each: list[tuple[str, bytes, str]], tally: Tally, until: float) -> None:
    host = server.address.partition("/predictions/")[0]
    infer = f"{host}/v2/models/{server.model}/infer"
    async with httpx.AsyncClient(trust_env=False, timeout=130) as client:
        while time.monotonic() < until:
            path, body, kind = random.choice(each)
            token = server.token() if random.random() < 0.8 else "guessed"
            headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
            try:
                reply = await client.post(infer if path else server.address, content=body, headers=headers)
            except httpx.HTTPError as error:  # cut off while it still sent
                tally.hostile[type(error).__name__] += 1
                continue
            tally.hostile[str(reply.status_code)] += 1
            if reply.status_code < 400 or (reply.status_code >= 500 and not tally.in_window()):
                tally.faults[f"{reply.status_code} to {kind} {body[:40]!r} of {len(body)}"] += 1
            await asyncio.sleep(0.05)


async def leave_open(server: Server, until: float) -> None:
    """Connections that send half of what they said, and wait."""
    port = int(server.address.split(":")[2].split("/")[0])
    open_ones = []
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                random.choice([b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"])
            )
            open_ones.append(writer)
        await asyncio.sleep(0.25)
    for writer in open_ones:
        writer.close()


async def kill_and_weigh(server: Server, tally: Tally, every: float, until: float) -> None:
    last = time.monotonic()
    while time.monotonic() < until:
        front = psutil.Process(server.pid)
        with contextlib.suppress(psutil.Error):
            largest = max(process.memory_info().rss for process in front.children(recursive=True))
            for name, size in {"front": front.memory_info().rss, "worker": largest}.items():
                tally.memory[name].append(size / 2**20)
        if every and time.monotonic() - last > every and until - time.monotonic() > WINDOW:
            last = time.monotonic()
            with contextlib.suppress(psutil.Error, ValueError):
                (maker,) = front.children()
                (worker, *_) = maker.children()
                if len(tally.kills) % KILLS_OF_MAKER == KILLS_OF_MAKER - 1:
                    maker.kill()
                worker.kill()
                tally.kills.append(time.monotonic())
        await asyncio.sleep(0.5)


async def run(server: Server, export: Path, options: argparse.Namespace) -> Tally:
    requests, tally = good_requests(export), Tally()
    answers = Predictor.load(export / "bundle").answer([json.dumps(request) for request in requests])
    kept = [(request, one) for request, one in zip(requests, answers, strict=True) if isinstance(one, Response)]
    requests, expected = [request for request, _ in kept], [one.prediction for _, one in kept]
    each = bodies()
    until = time.monotonic() + options.seconds
    await asyncio.gather(
        *(ask_well(server, requests, expected, tally, until) for _ in range(options.good)),
        *(ask_badly(server, each, tally, until) for _ in range(options.hostile)),
        leave_open(server, until),
        kill_and_weigh(server, tally, options.kill_every, until),
    )
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="output folder of python -m serve.export, with patient.json")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument(
        "--kill-every", type=float, default=15, help="seconds between two kills of a worker; 0 for none"
    )
    parser.add_argument("--good", type=int, default=4, help="good senders")
    parser.add_argument("--hostile", type=int, default=4, help="hostile senders")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    output = Path(tempfile.mkdtemp(prefix="hostile-"))
    bundle = options.export / "bundle"
    schema = BundleSchema.load(bundle)
    server = launch.start(bundle, schema, output, free_ports(1)[0], workers=options.workers)
    try:
        tally = asyncio.run(run(server, options.export, options))
    finally:
        stop(output)
    told = [path.name for path in output.rglob("*") if path.is_file() and WORD in path.read_text(errors="replace")]
    asked = tally.right + sum(tally.refused.values())
    print(f"{asked + sum(tally.hostile.values())} requests")
    print(f"good: {asked} asked, refused {dict(tally.refused)}, {len(tally.wrong)} wrong answers")
    print(f"hostile: {dict(tally.hostile)}; faults: {dict(tally.faults) or 'none'}")
    both = tally.recoveries[KILLS_OF_MAKER - 1 :: KILLS_OF_MAKER]
    alone = [one for place, one in enumerate(tally.recoveries) if (place + 1) % KILLS_OF_MAKER]
    print(f"{len(tally.kills)} kills; longest seconds until a request sent afterwards was answered (bar: 10):")
    for name, some in (("a worker", alone), ("a worker and what it was copied from", both)):
        print(f"  {name}: {', '.join(f'{seconds:.1f}' for seconds in sorted(some)[::-1][:5]) or '-'}")
    for name, sizes in tally.memory.items():
        quarter = max(1, len(sizes) // 4)
        grown = statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter : 2 * quarter] or sizes)
        print(f"memory of {name}: at most {max(sizes):.0f} MiB; last quarter {grown:+.0f} MiB beside the second")
    print(f"files of the host that hold a patient's word: {', '.join(told) or 'none'}")
    share = (tally.right - len(tally.wrong)) / max(1, asked)
    print(f"good requests answered rightly: {share:.4%} (bar: 99.9 %)")


if __name__ == "__main__":
    main()
