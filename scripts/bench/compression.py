"""Narrow updates beside fp32: bytes, error, time, and the end of a federated run.

`python scripts/bench/compression.py` trains the embedded cohort across its sites once a format and seed, then encodes a
real update (what the last round of an fp32 run changed) by itself. The ratio of int8 to fp32 is printed last; the bar
is 0.27, scales included.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import foundation  # noqa: F401  # isort: skip
import numpy as np
from commands import run
from safetensors.numpy import load_file

from foundation.federation.wire.compression import Compressor

CODECS = {
    "fp32": ["compression=none"],
    "bf16": ["compression=bf16"],
    "int8": ["compression=int8"],
    "int8, stochastic": ["compression=int8", "compression.stochastic=true"],
    "int8, no feedback": ["compression=int8", "compression.feedback=false"],
}
BLOCKS = (32, 128, 256, 1024, 1 << 24)
BAR = 0.27


def trained(folder: Path, cohort: Path, settings: list[str]) -> dict[str, float]:
    """Bytes that sites sent and what came of it, from a run's history."""
    run(
        "pretrain.federated",
        "experiment=demo",
        "federation=serial",
        f"data.folder={cohort}",
        f"output={folder}",
        *settings,
    )
    rounds = json.loads((folder / "history.json").read_text())["rounds"]
    sent = sum(site["bytes"]["from_site"] for number in rounds for site in number["training"].values())
    last = [metrics for metrics in rounds[-1]["evaluation"].values() if metrics.get("patients")]
    hits = [value for metrics in last for name, value in metrics.items() if name.endswith("/r@5")]
    loss = statistics.mean(metrics["loss"] for metrics in last)
    return {"bytes": sent, "loss": loss, "r@5": statistics.mean(hits)}


def last_change(folder: Path) -> dict[str, Any]:
    """What the last round of a run changed, by parameter."""
    before, after = (load_file(path) for path in sorted((folder / "rounds").glob("round_*.safetensors"))[-2:])
    return {name: np.asarray(after[name] - before[name], dtype=after[name].dtype) for name in after}


def alone(change: dict[str, Any], compression: Compressor) -> tuple[int, float, float, float]:
    """Bytes, relative error, milliseconds to encode and to decode."""
    started = time.perf_counter()
    arrays = compression.encode(change).arrays
    encoded = time.perf_counter()
    decoded = dict(compression.decode(arrays))
    done = time.perf_counter()
    floats = [name for name, value in change.items() if value.dtype.kind == "f"]
    lost = sum(float(np.square(decoded[name] - change[name], dtype=np.float64).sum()) for name in floats)
    whole = sum(float(np.square(change[name], dtype=np.float64).sum()) for name in floats)
    size = sum(value.nbytes for value in arrays.values())
    return size, math.sqrt(lost / whole), 1e3 * (encoded - started), 1e3 * (done - encoded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument(
        "--compressions", nargs="+", choices=list(CODECS), default=list(CODECS), help="beside fp32 and int8"
    )
    arguments = parser.parse_args()
    compressions = {
        name: overrides for name, overrides in CODECS.items() if name in ("fp32", "int8", *arguments.compressions)
    }
    settings = [
        f"rounds={arguments.rounds}",
        f"steps_per_round={arguments.steps}",
        f"encoder={arguments.encoder}",
        "progress=false",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder, cohort = Path(scratch), Path(scratch) / "cohort"
        run("foundation.data prepare", "cohort=demo", f"cohort.root={folder}/raw", f"output={cohort}")
        by_name: dict[str, list[dict[str, float]]] = {name: [] for name in compressions}
        for seed in range(arguments.seeds):
            for name, overrides in compressions.items():
                output = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
                by_name[name].append(trained(output, cohort, [*settings, *overrides, f"seed={seed}"]))
        repeated = f"{arguments.rounds} rounds of {arguments.steps} steps, {arguments.seeds} seeds"
        print(f"\nA federated run, {repeated} (mean ± deviation)")
        whole = statistics.mean(each["bytes"] for each in by_name["fp32"])
        for name, results in by_name.items():
            share = statistics.mean(each["bytes"] for each in results) / whole
            loss, recall = (_with_spread(results, key) for key in ("loss", "r@5"))
            print(f"{name:20} {share:.4f} of the bytes   loss {loss}   r@5 {recall}")
        change = last_change(folder / "fp32-0")
    single = sum(value.nbytes for value in change.values())
    print(f"\nOne update, {single / 2**20:.2f} MiB in fp32, {len(change)} arrays")
    kinds = {"bf16": Compressor("bf16")} | {
        f"int8, blocks of {block}": Compressor("int8", block=block) for block in BLOCKS
    }
    for name, compression in kinds.items():
        size, error, encode, decode = alone(change, compression)
        print(f"{name:26} {size / single:.4f} of the bytes, {error:.2e} off, {encode:.1f} + {decode:.1f} ms")
    ratio = statistics.mean(each["bytes"] for each in by_name["int8"]) / whole
    print(f"\nint8 / fp32: {ratio:.4f} (bar {BAR}: {'met' if ratio <= BAR else 'missed'})")


def _with_spread(results: list[dict[str, float]], name: str) -> str:
    values = [each[name] for each in results]
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0:.4f}"


if __name__ == "__main__":
    main()
