"""Peak memory of a contrastive batch 16 times as large, taken part by part, beside that of the small batch.

`python scripts/bench/memory.py` counts every tensor of a step, weights, inputs and gradients included, as PyTorch's
profiler reports allocations; then it compares loss and gradients of a batch in parts and in one piece.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import foundation  # noqa: F401  # isort: skip
import hydra
import numpy as np
import torch
from patients import DICTIONARY, patient
from torch.profiler import ProfilerActivity, profile

from pretrain.assemble import build_encoder, build_objectives

BACKBONE, SIZE = "vit_tiny_patch16_224", 96


def step(patients: int, at_once: int | None, images: int) -> dict[str, Any]:
    """Loss and gradients of one step of alignment, in float32."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    settings = ["encoder.dropout=0.0", f"encoder.backbone={BACKBONE}", f"encoder.image_size={SIZE}"]
    settings += ["~objective.masked_genes"]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("pretrain", settings)
    encoder, objectives = build_encoder(cfg, DICTIONARY).train(), build_objectives(cfg)
    encoder.patients_at_once = at_once
    for name in encoder.modalities:
        encoder.modalities[name].max_images = images
    rng = np.random.default_rng(0)
    samples = [patient(rng, SIZE, images) for _ in range(patients)]
    batch = encoder.encode_samples(samples)
    del samples
    output = encoder(batch)
    term = objectives["alignment"](encoder, output, batch)
    assert term is not None
    term.loss.backward()
    gradients = torch.cat([value.grad.flatten() for value in encoder.parameters() if value.grad is not None])
    return {"loss": float(term.loss.detach()), "gradients": gradients}


def peak_of_step(patients: int, at_once: int | None, images: int) -> dict[str, float]:
    """Loss, and the most bytes that tensors held at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        loss = step(patients, at_once, images)["loss"]
    with tempfile.TemporaryDirectory() as folder:
        watched.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
    return {"loss": loss, "peak": max(e["args"]["Total Allocated"] for e in events if e.get("name") == "[memory]")}


def measured(patients: int, at_once: int | None, images: int) -> dict[str, float]:
    """Loss and memory of a step in a fresh process."""
    command = [sys.executable, __file__, "--one", str(patients), str(at_once or 0), "--images", str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr[-2000:])
    peak: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=48, help="of the small batch")
    parser.add_argument("--times", type=int, default=16)
    parser.add_argument("--images", type=int, default=2, help="of each kind a patient")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(peak_of_step(arguments.one[0], arguments.one[1] or None, arguments.images)))
        return
    large = arguments.patients * arguments.times
    rows = {
        f"{arguments.patients} patients": (arguments.patients, None),
        f"{large} patients, {arguments.patients} at once": (large, arguments.patients),
        f"{4 * arguments.patients} patients in one piece": (4 * arguments.patients, None),
    }
    figures = {name: measured(*row, arguments.images) for name, row in rows.items()}
    small, parts, _ = figures.values()
    print(f"{'':34}{'peak MiB':>10}{'loss':>12}")
    for name, figure in figures.items():
        print(f"{name:34}{figure['peak'] / 2**20:10.0f}{figure['loss']:12.6f}")
    some = 64
    whole, part = step(some, None, 1), step(some, some // 4, 1)
    apart = (whole["gradients"] - part["gradients"]).abs().max().item()
    print(f"{some} patients: losses {abs(whole['loss'] - part['loss']):.1e} apart, gradients {apart:.1e} (bar: 1e-5)")
    print(f"peak at {arguments.times}×: {parts['peak'] / small['peak']:.2f}× of the small batch's (bar: at most 1.15×)")


if __name__ == "__main__":
    main()
