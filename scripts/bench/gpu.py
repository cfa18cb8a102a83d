"""A GPU in one command: what the project makes of it, each figure beside a baseline of the same run.

`python scripts/bench/gpu.py` measures, in under eight minutes on one CUDA machine: bf16 model FLOPs utilisation by the
encoder's size, compiled and with flash attention, beside bare PyTorch loops over the same model; peak memory by ZeRO
stage and under FSDP, beside DDP; tiles and patients a second from packed data on disk; feature extraction; latency of
the endpoint. It prints a table a section, writes all of it as JSON, and ends with that file's path.

On a machine without CUDA, or with --toy, every line runs at a size that measures nothing but shows that it runs. What
could not be measured says why. Exit code 1: something broke, and its reason stands in table and JSON.
"""

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # processes started anew look for the project here, too

from gpu_sections.jobs import Jobs, Row
from gpu_sections.settings import TRAINERS, Plan

_BAR, _AIM = 0.45, 0.55
_UNITS = {"_bytes": (1 / 2**30, "GiB"), "_seconds": (1000.0, "ms"), "mfu": (100.0, "%"), "of_matmul": (100.0, "%")}
_SHOWN = {
    "mfu": ("name", "size", "patients", "step_seconds", "patients_per_second", "mfu", "of_matmul"),
    "memory": ("name", "size", "devices", "patients", "peak_bytes", "step_seconds"),
    "data": ("name", "size", "tiles_per_second", "patients_per_second"),
    "features": ("name", "backbone", "batch", "tiles_per_second", "tiles_per_second_alone"),
    "latency": ("name", "batch", "p50_ms", "p95_ms"),
}


def machine(toy: bool) -> Row:
    """What is measured on."""
    from gpu_sections.device import described

    return described() | {"toy": toy, "cores": len(os.sched_getaffinity(0))}


def measured(plan: Plan, jobs: Jobs, facts: Row) -> dict[str, list[Row]]:
    """All sections, the weightiest first: what time is too short for is what matters least."""
    from gpu_sections import cohort, data, features, latency, memory, mfu

    sections: dict[str, list[Row]] = {name: [] for name in _SHOWN}
    jobs.run("cohort", cohort.prepared, plan)
    sections["mfu"] += jobs.run("mfu base", mfu.utilisation, plan, "base")
    sections["latency"] += jobs.run("latency", latency.endpoint, plan, _free_port())
    sections["data"] += jobs.run("data", data.streams, plan) + _from_training(sections["mfu"])
    sections["features"] += jobs.run("features", features.extraction, plan)
    for name, trainer in TRAINERS.items():
        ranks = 2 if plan.toy and name == "DDP" else facts["devices"]  # the way over several processes runs, too
        if plan.toy and name == "FSDP":
            sections["memory"].append({"name": name, "left_out": "needs CUDA"})
        else:
            sections["memory"] += jobs.run(f"memory {trainer}", memory.footprint, plan, name, ranks, ranks=ranks)
    for size in plan.sizes[1:]:
        sections["mfu"] += jobs.run(f"mfu {size}", mfu.utilisation, plan, size)
    return sections


def _stop_server(plan: Plan) -> None:
    from gpu_sections.latency import stop

    stop(plan)


def _from_training(rows: list[Row]) -> list[Row]:
    """Patients a second of the base encoder's training: computing alone, and the whole path from disk."""
    kept = ("name", "size", "patients", "patients_per_second", "left_out")
    chosen = [row for row in rows if "no flash" not in row["name"]]
    return [{key: row[key] for key in kept if key in row} | {"name": f"training, {row['name']}"} for row in chosen]


def table(name: str, rows: list[Row]) -> str:
    columns = _SHOWN[name]
    lines = [[name, *(_title(column) for column in columns[1:])]]
    for row in rows:
        if "left_out" in row:
            lines.append([row["name"], f"left out: {row['left_out']}"])
        else:
            lines.append([row["name"], *(_cell(column, row.get(column)) for column in columns[1:])])
    first = max(len(line[0]) for line in lines) + 2
    return "\n".join(f"{line[0]:{first}}" + "".join(f"{cell:>24}" for cell in line[1:]) for line in lines)


def _title(column: str) -> str:
    unit = next((unit for end, (_, unit) in _UNITS.items() if column.endswith(end)), None)
    title = column.removesuffix("_bytes").removesuffix("_seconds").replace("_", " ")
    return f"{title}, {unit}" if unit else title


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "–"
    factor = next((factor for end, (factor, _) in _UNITS.items() if column.endswith(end)), 1.0)
    return f"{factor * value:,.1f}" if isinstance(value, float) else str(value)


def verdict(rows: list[Row]) -> str:
    """The figure that the issue's bar is about."""
    path = [row for row in rows if row.get("size") == "base" and row["name"].startswith("python -m")]
    shares = [row["mfu"] for row in path if "mfu" in row]
    bars = f"(bar: at least {_BAR:.0%}, aimed at {_AIM:.0%})"
    if not shares:
        return f"base: no MFU, {path[0]['mfu_left_out'] if path else 'its row was left out'} {bars}"
    return f"base: MFU {shares[0]:.1%} {bars}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="at a size that measures nothing; by itself without CUDA")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which whatever is left is left out")
    parser.add_argument("--json", type=Path, default=Path("runs/bench/gpu.json"))
    arguments = parser.parse_args()
    started = time.monotonic()
    import torch

    toy = arguments.toy or not torch.cuda.is_available()
    if toy:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = ""
    with tempfile.TemporaryDirectory(prefix="consilium-gpu-") as name:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{name}/compiled"  # compiling is part of the time that is counted
        facts = machine(toy)
        plan = Plan(Path(name), toy, facts.get("memory_gib", 0.0), max(1, facts["cores"] - 2))
        jobs = Jobs(Path(name), 60 * arguments.minutes - (time.monotonic() - started), toy)
        try:
            sections = measured(plan, jobs, facts)
        finally:
            _stop_server(plan)
    seconds = time.monotonic() - started
    content = {"machine": facts, "toy": toy, "seconds": seconds, "sections": sections, "failures": jobs.failures}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    for section, rows in sections.items():
        print(f"\n{table(section, rows)}")
    print(f"\n{', '.join(f'{key} {value}' for key, value in facts.items())}; {seconds:.0f} s")
    print(verdict(sections["mfu"]))
    print(arguments.json, flush=True)
    sys.exit(1 if jobs.failures else 0)


if __name__ == "__main__":
    main()
