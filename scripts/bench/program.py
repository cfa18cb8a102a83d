"""A bundle's model eager and as its exported program: seconds until it answers, memory, and milliseconds an answer.

    python scripts/bench/program.py runs/demo/export

Each is loaded in processes of its own, in turn; the same patients pass through both, with everything and with the
report alone. What a worker does beside (transforms, calibration) is the same for both and left out: medians.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PASSES = 40


def alone(export: Path, kind: str) -> dict[str, float]:
    """Figures of this process."""
    begun = time.perf_counter()
    import torch

    torch.set_num_threads(1)
    from serve.program import archive
    from serve.program.core import rows

    run = archive.load(export / "bundle") if kind == "program" else None
    if run is None:
        from finetune.predictor import TaskModel

        model = TaskModel.load(export / "bundle" / "model")
    figures = {"ready": time.perf_counter() - begun, "memory": peak()}

    from serve.predictor import Predictor

    predictor = Predictor.load(export / "bundle")
    names = [name for name in predictor.model.task["modalities"] if name in predictor.schema.modalities]
    request = json.loads((export / "patient.json").read_text())
    for part in ("everything", "report"):
        body = request if part == "everything" else {part: request[part]}
        patient = predictor.model.encoder.transform(predictor._prepare(json.dumps(body)).patient.sample)
        if run is None:
            figures[part] = median(partial(model.read, model.encoder.collate([patient])))
        else:
            figures[part] = median(partial(run, *rows(predictor.model, names, [patient])))
    return figures


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def median(do: Callable[[], Any]) -> float:
    """Milliseconds of a pass."""
    import torch

    taken = []
    with torch.inference_mode():
        for _ in range(PASSES + 2):
            begun = time.perf_counter()
            do()
            taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="output folder of python -m serve.export, with patient.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=["eager", "program"], help="this process measures one, for the script itself")
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(alone(arguments.export, arguments.kind)))
        return
    seen: dict[str, list[dict[str, float]]] = {"eager": [], "program": []}
    for _ in range(arguments.rounds):
        for kind, figures in seen.items():
            command = [sys.executable, __file__, str(arguments.export), "--kind", kind]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            figures.append(json.loads(done.stdout.splitlines()[-1]))
    for kind, figures in seen.items():
        ready, memory, everything, report = (
            statistics.median(one[name] for one in figures) for name in ("ready", "memory", "everything", "report")
        )
        print(f"{kind:8} loaded in {ready:.1f} s, {memory:.0f} MiB; everything {everything:.1f} ms, ", end="")
        print(f"report alone {report:.1f} ms")


if __name__ == "__main__":
    main()
