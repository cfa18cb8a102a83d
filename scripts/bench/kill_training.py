"""Training killed with SIGKILL at random moments and resumed, beside the same training left alone.

`python scripts/bench/kill_training.py` prepares the embedded cohort, then pretrains under each trainer: once left
alone, then killed with all its processes and resumed as often as `--kills` says, each kill a random time after its
start, while it trains, validates or writes a checkpoint. What is compared is the encoder that both write: equal to the
bit on one process, within 1e-6 on two. `--head` trains a task head instead.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from commands import run
from safetensors.torch import load_file

_LONGEST = 0.5  # seconds between a checkpoint and a kill
TRAINERS = ("cpu", "ddp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3")


def start(trainer: str, cohort: Path, output: Path, arguments: argparse.Namespace, *more: str) -> subprocess.Popen[str]:
    """A run in a process group of its own."""
    command = ["finetune", f"pretrained={arguments.head}"] if arguments.head else ["pretrain", "experiment=demo"]
    settings = [f"data.folder={cohort}", f"output={output}", "progress=false", f"steps={arguments.steps}"]
    settings += ["data.batch_size=8", "checkpoint_every=2", "validate_every=3", "loggers=[csv]", f"trainer={trainer}"]
    if trainer != "cpu":
        settings += ["trainer.accelerator=cpu"]
    if not arguments.head:
        settings += ["monitor_every=0", "modality.pathology.max_images=1", "modality.radiology.max_images=1"]
    # Kills leave locks of extensions behind, which are this benchmark's own business.
    extensions = {"TORCH_EXTENSIONS_DIR": str(cohort.parent / "extensions")}
    return subprocess.Popen(
        [sys.executable, "-m", *command, *settings, *more],
        env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", **extensions},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=600)
    if process.returncode != 0:
        sys.exit(f"exit {process.returncode}\n{errors[-3000:]}")


def step_of(output: Path) -> int:
    """The step of the latest checkpoint; 0 without one."""
    last = output / "checkpoints" / "last.ckpt"
    return int(last.resolve().stem.removeprefix("step=")) if last.exists() else 0


def killed(process: subprocess.Popen[str], output: Path, wait: float) -> bool:
    """Kills a run some seconds after its next checkpoint; False if it ended before."""
    before = step_of(output)
    while process.poll() is None and step_of(output) <= before:
        time.sleep(0.002)
    until = time.monotonic() + wait
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def compared(trainer: str, cohort: Path, folder: Path, arguments: argparse.Namespace) -> tuple[float, list[int]]:
    """Largest difference of any weight, and the steps of the checkpoints that the killed run went on from."""
    draw = random.Random(f"{arguments.seed}/{trainer}")
    finish(start(trainer, cohort, folder / "whole", arguments))
    output, steps = folder / "killed", []
    for _ in range(arguments.kills):
        more = ["resume=true"] if step_of(output) else []
        # A few steps' time after a checkpoint, so that every kill leaves the run further than the one before.
        if not killed(start(trainer, cohort, output, arguments, *more), output, draw.uniform(0, _LONGEST)):
            break
        steps.append(step_of(output))
    finish(start(trainer, cohort, output, arguments, "resume=true"))
    one, other = (load_file(folder / name / "encoder" / "model.safetensors") for name in ("whole", "killed"))
    if arguments.head:
        one, other = (
            weights | load_file(folder / name / "head.safetensors")
            for weights, name in ((one, "whole"), (other, "killed"))
        )
    assert one.keys() == other.keys()
    different = (float((one[name].double() - other[name].double()).abs().max()) for name in one if one[name].numel())
    return max(different), steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--trainers", nargs="*", default=list(TRAINERS))
    parser.add_argument("--head", help="an encoder folder, to train a head on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        folder = Path(name)
        run("foundation.data prepare", "cohort=demo", f"cohort.root={folder}/raw", f"output={folder}/cohort")
        for trainer in arguments.trainers:
            difference, steps = compared(trainer, folder / "cohort", folder / trainer, arguments)
            allowed = 0.0 if trainer == "cpu" else 1e-6
            failed |= difference > allowed
            print(
                f"{trainer:18} killed {len(steps)} times, at checkpoints {steps}: largest difference {difference:.1e} "
                f"(bar: {allowed:g})",
                flush=True,
            )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
