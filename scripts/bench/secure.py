"""Time and bytes of a secure round beside a plain one, by size of model, in Flower's simulation engine.

`python scripts/bench/secure.py --values 100000 1000000 10000000` lets four sites answer without training: plain,
masked, and masked with one site that dies after it has shared its keys. Bytes are of one site.
"""

import argparse
import json
import logging
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from rich.console import Console
from rich.table import Table

from foundation.federation.secure import Secure, SecureOrder, SecureRound, asked, masked_reply, secure_mod, secure_round
from foundation.federation.secure.site import submission
from foundation.federation.strategies.averaging import FedAvg
from foundation.federation.weights.types import Weights
from foundation.federation.weights.update import SiteUpdate, difference

ARRAYS = 16
MOST = 64
GROUP = "fusion"
Row = dict[str, Any]


def model(values: int) -> Weights:
    """Weights of one parameter group."""
    parts = np.array_split(np.random.default_rng(0).normal(size=values).astype(np.float32), ARRAYS)
    return {f"encoder.fusion.blocks.{number:02d}": part for number, part in enumerate(parts)}


def result(before: Weights, node: int) -> tuple[Weights, dict[str, int]]:
    """What training at a node would give."""
    rng = np.random.default_rng(node)
    after: Weights = {
        name: value + rng.standard_normal(value.shape, dtype=np.float32) * np.float32(1e-3)
        for name, value in before.items()
    }
    return after, {GROUP: MOST - node % 32}


def packed(values: Weights) -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in values.items()})


def client() -> ClientApp:
    app = ClientApp(mods=[secure_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        before = {name: array.numpy() for name, array in message.content.array_records["arrays"].items()}
        after, samples = result(before, context.node_id)
        if not asked(message.content):
            return Message(
                RecordDict({"arrays": packed(after), "samples": MetricRecord(dict(samples))}), reply_to=message
            )
        if message.content.config_records["facts"]["dies"] == str(context.node_id):
            raise RuntimeError("the power went")
        submitted = submission(
            SecureOrder.read(message.content), before, SiteUpdate(difference(before, after), samples)
        )
        return Message(masked_reply(RecordDict(), submitted), reply_to=message)

    return app


def plain_round(grid: Grid, nodes: dict[str, int], before: Weights) -> tuple[Weights, Row]:
    order = RecordDict({"arrays": packed(before)})
    replies = list(grid.send_and_receive([Message(order, node, MessageType.TRAIN) for node in nodes.values()]))
    updates = {}
    for reply in replies:
        arrays = {name: array.numpy() for name, array in reply.content.array_records["arrays"].items()}
        samples: Any = reply.content.metric_records["samples"]
        updates[str(reply.metadata.src_node_id)] = SiteUpdate(difference(before, arrays), dict(samples))
    sent, back = (content.array_records["arrays"].count_bytes() for content in (order, replies[0].content))
    return FedAvg().combine(before, updates, frozenset()).weights, {"to_site": sent, "from_site": back}


def masked_round(grid: Grid, nodes: dict[str, int], before: Weights, dies: str) -> tuple[SecureRound, Row]:
    order = RecordDict({"arrays": packed(before), "facts": ConfigRecord({"dies": dies})})
    outcome = secure_round(grid, nodes, order, before, Secure(), MOST, 1, None)
    return outcome, dict(outcome.bytes[outcome.took_part[0]])


def error_of(outcome: SecureRound, before: Weights, sites: int) -> tuple[float, float]:
    """Largest difference from the exact mean over who took part, and what it may be at most."""
    order = SecureOrder.of(Secure(), MOST, [GROUP])
    results = {site: result(before, int(site)) for site in outcome.took_part}
    total = sum(samples[GROUP] for _, samples in results.values())
    error, bound = 0.0, 0.0
    for name, value in before.items():
        exact = sum(
            (after[name].astype(np.float64) - value) * samples[GROUP] / total for after, samples in results.values()
        )
        error = max(error, float(np.abs(outcome.differences[name] - exact).max()))
        bound = max(bound, order.bound(name, value, sites, len(results), total))
    return error, bound


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def measure(grid: Grid, sites: int, values: int) -> list[Row]:
    while len(ids := sorted(grid.get_node_ids())) < sites:
        time.sleep(0.1)
    nodes = {str(node): node for node in ids}
    before = model(values)
    (_, count), seconds = timed(lambda: plain_round(grid, nodes, before))
    rows = [{"values": values, "kind": "plain", "seconds": seconds, **count, "took_part": sites}]
    for kind, dies in (("secure", ""), ("secure, one site dies", str(ids[-1]))):
        (outcome, count), seconds = timed(lambda dies=dies: masked_round(grid, nodes, before, dies))
        error, bound = error_of(outcome, before, sites)
        row = {"values": values, "kind": kind, "seconds": seconds, **count, "took_part": len(outcome.took_part)}
        rows.append(row | {"error": error, "bound": bound, "absent": list(outcome.absent.values())})
    return rows


def table(rows: list[Row]) -> Table:
    shown = Table("values", "round", "s", "MB to site", "MB from site", "× plain", "largest error", "bound")
    plain = {row["values"]: row for row in rows if row["kind"] == "plain"}
    for row in rows:
        times = f"{row['from_site'] / plain[row['values']]['from_site']:.2f}"
        errors = [f"{row[name]:.1e}" if name in row else "" for name in ("error", "bound")]
        megabytes = [f"{row[name] / 1e6:.2f}" for name in ("to_site", "from_site")]
        shown.add_row(f"{row['values']:,}", row["kind"], f"{row['seconds']:.2f}", *megabytes, times, *errors)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    chosen = parser.parse_args()
    rows: list[Row] = []
    server = ServerApp()

    @server.main()
    def run(grid: Grid, context: Context) -> None:
        measure(grid, chosen.sites, 1000)  # the first round starts the sites' processes
        for values in chosen.values:
            rows.extend(measure(grid, chosen.sites, values))

    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    backend: Any = {"init_args": {"log_to_driver": False, "logging_level": "error", "include_dashboard": False}}
    with tempfile.TemporaryDirectory() as home:
        os.environ["FLWR_HOME"] = home
        run_simulation(server, client(), num_supernodes=chosen.sites, backend_config=backend)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1))
    Console(width=120).print(table(rows))
    print(f"peak memory of the server: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
