"""The overhead of a round over local training: a real SuperLink and three nodes, over TLS, with the embedded cohort.

`python scripts/bench/federation_overhead.py --rounds 5` prints, round by round, the seconds until all sites had
trained and evaluated, those that the slowest one trained, and what is left: transport, waiting, evaluation,
aggregation. The median of the rounds after the first is said, as the first pays for what is started once. The bar is
3 s.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from commands import run

from foundation.ports import free_ports

SITES = ("riverside", "northgate", "summit")
BAR = 3.0


def started(folder: Path, settings: list[str]) -> subprocess.Popen[bytes]:
    """A provisioned process, with its log beside it."""
    environment = os.environ | {"VENV": str(Path(sys.executable).parent.parent)}
    log = (folder / "log.txt").open("wb")
    command = ["bash", str(folder / "start.sh"), *settings]
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def measure(folder: Path, rounds: int, steps: int, encoder: str) -> list[dict[str, float]]:
    """By round: total, training of the slower site, evaluation of the slower site, and the rest, in seconds."""
    federation, cohort = folder / "federation", folder / "cohort"
    run("foundation.data prepare", "cohort=demo", f"cohort.root={folder}/raw", f"output={cohort}")
    port, *ports = free_ports(1 + len(SITES))
    names = ",".join(SITES)
    run(
        "foundation.federation.deployment.provision",
        f"sites=[{names}]",
        f"port={port}",
        f"data={cohort}",
        f"output={federation}",
    )
    for site in SITES:  # whose embedded cohort is smaller than a hospital's own policy would have it
        (federation / "sites" / site / "policy.yaml").write_text("{}\n")
    processes = [started(federation / "server", [])]
    processes += [
        started(federation / "sites" / site, [f"port={node_port}"])
        for site, node_port in zip(SITES, ports, strict=True)
    ]
    try:
        wait_for(federation, len(SITES))
        run(
            "pretrain.federated",
            "federation=deployment",
            f"federation.server={federation}/server",
            "experiment=demo",
            f"encoder={encoder}",
            f"sites=[{names}]",
            "data.test_hospitals=[]",
            f"data.folder={cohort}",
            f"rounds={rounds}",
            f"steps_per_round={steps}",
            f"output={folder}/run",
        )
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            process.wait(30)
    return [seconds(line) for line in json.loads((folder / "run" / "history.json").read_text())["rounds"]]


def wait_for(federation: Path, count: int) -> None:
    """Until the nodes are connected."""
    for _ in range(240):
        logs = [path.read_text() for path in (federation / "sites").glob("*/log.txt")]
        if sum("SuperNode ID" in log for log in logs) == count:
            return
        time.sleep(0.5)
    sys.exit(f"the nodes did not connect; see the logs in {federation}")


def seconds(line: dict) -> dict[str, float]:
    trained = max(site["metrics"]["seconds"] for site in line["training"].values())
    evaluated = max(site["seconds"] for site in line["evaluation"].values())
    total = line["seconds"]["total"]
    return {"total": total, "training": trained, "evaluation": evaluated, "rest": total - trained - evaluated}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--encoder", default="tiny")
    settings = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # through `finally`, which ends the processes
    folder = Path(tempfile.mkdtemp(prefix="consilium-bench-"))
    rounds = measure(folder, settings.rounds, settings.steps, settings.encoder)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("round   total  training  evaluation  rest (s)")
    for number, line in enumerate(rounds, 1):
        print(f"{number:5} {line['total']:7.1f} {line['training']:9.1f} {line['evaluation']:11.1f} {line['rest']:9.1f}")
    beside = [line["total"] - line["training"] for line in rounds[1:] or rounds]
    print(f"median of rounds after the first: {statistics.median(beside):.1f} s beside training (bar {BAR:.0f} s)")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
