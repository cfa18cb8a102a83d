"""Equality of weights before and after a change of the code: the same commands on an earlier commit and on this tree.

`python scripts/bench/equivalence.py --commit b491d09` checks the commit out beside this tree, prepares the embedded
cohort with both, and runs the pooled pretraining, a biomarker head and a survival head on it, and the federated
pretraining, with one seed. Pooled weights and heads must be equal to the bit; the federated run's may differ by the
order of float sums. That is told after one round: AdamW's first step of the next makes a whole step of a gradient that
is all rounding, as a key's bias in attention has, so that the last bit of a sum decides its sign.

Prints the largest difference of each run, relative to the largest weight of its array, and last a verdict. With
`--folder` the earlier commit's results stay there for the next comparison.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
FEDERATED_BAR = 1e-6
RESULTS = {
    "pooled": ("pooled/encoder/model.safetensors", 0.0),
    "biomarker head": ("biomarker/head.safetensors", 0.0),
    "biomarker encoder": ("biomarker/encoder/model.safetensors", 0.0),
    "survival head": ("survival/head.safetensors", 0.0),
    "federated": ("federated/encoder/model.safetensors", FEDERATED_BAR),
}


def commands(out: Path, seed: int, rounds: int, steps: int) -> list[list[str]]:
    """What both trees run, `python -m` left out."""
    cohort, common = f"data.folder={out}/cohort", [f"seed={seed}", "progress=false"]
    heads = [
        ["finetune", f"task={task}", f"pretrained={out}/pooled", cohort, f"output={out}/{task}", *common]
        for task in ("biomarker", "survival")
    ]
    return [
        ["foundation.data", "prepare", "cohort=demo", f"cohort.root={out}/raw", f"output={out}/cohort"],
        ["pretrain", "experiment=demo", cohort, f"steps={steps}", f"output={out}/pooled", *common],
        *heads,
        [
            *("pretrain.federated", "experiment=demo", "federation=serial", cohort),
            *(f"rounds={rounds}", f"output={out}/federated", *common),
        ],
    ]


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A working tree of a commit, which goes away again."""
    with tempfile.TemporaryDirectory(prefix="consilium-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def run(tree: Path, out: Path, arguments: argparse.Namespace) -> None:
    """All commands in one tree."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    for command in commands(out, arguments.seed, arguments.rounds, arguments.steps):
        print(f"{tree.name}: python -m {' '.join(command)}", flush=True)
        line = [sys.executable, "-m", *command]
        done = subprocess.run(line, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{command[0]}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")


def largest_difference(one: Path, other: Path) -> float:
    """Of two files of weights, relative to the largest weight of the array; infinite where names or shapes differ."""
    before, after = load_file(one), load_file(other)
    if before.keys() != after.keys() or any(before[name].shape != after[name].shape for name in before):
        return float("inf")
    differences = [
        float(np.abs(before[name].astype(float) - after[name].astype(float)).max())
        / max(float(np.abs(before[name]).max()), 1e-12)
        for name in before
        if before[name].size
    ]
    return max(differences, default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", required=True, help="to compare with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="for the results; a temporary one if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        if not (folder / "before" / RESULTS["federated"][0]).is_file():
            with checked_out(arguments.commit) as tree:
                run(tree, folder / "before", arguments)
        shutil.rmtree(folder / "after", ignore_errors=True)
        run(ROOT, folder / "after", arguments)
        equal = True
        for name, (path, bar) in RESULTS.items():
            difference = largest_difference(folder / "before" / path, folder / "after" / path)
            equal &= difference <= bar
            print(f"{name}: largest relative difference {difference:.2g} (bar {bar:g})")
    print("equal" if equal else "NOT EQUAL")
    sys.exit(not equal)


if __name__ == "__main__":
    main()
