"""Kill -9 at random points of packing: the next run's results beside an uninterrupted one's, byte for byte.

`python scripts/bench/kill_packing.py` packs a cohort of drawn slides, tables and reports once in peace; then, twenty
times, packs it, kills every process of that at a random moment of the packing, packs it again, and compares all files.
"""

import argparse
import filecmp
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import yaml

from foundation.polling import wait_until

SIDE, PATIENTS = 1536, 6
GENES = ["TP53", "EGFR", "IDH1", "PTEN"]


def write_cohort(root: Path) -> None:
    """Two hospitals; every patient has a slide, expression, a report and a record."""
    dictionary = {
        "genes": GENES,
        "expression_unit": "tpm",
        "record": [{"name": "age", "kind": "continuous", "center": 60, "scale": 12}],
        "labels": ["positive"],
        "survival": {"event": "os_event", "time": "os_days"},
    }
    declared = {"name": "drawn", "synthetic": True, "description": "Drawn.", "hospitals": ["north", "south"]}
    rng = np.random.default_rng(0)
    for hospital in declared["hospitals"]:
        folder = root / str(hospital)
        (folder / "slides").mkdir(parents=True)
        ids = pd.Index([f"{hospital[0].upper()}{number:03}" for number in range(PATIENTS)], name="patient_id")
        outcome = {"positive": rng.permutation(np.resize([0, 1], PATIENTS)), "os_event": np.resize([1, 0], PATIENTS)}
        pd.DataFrame({**outcome, "os_days": rng.integers(90, 900, PATIENTS)}, ids).to_csv(folder / "patients.csv")
        pd.DataFrame(rng.gamma(2, 20, (PATIENTS, len(GENES))), ids, GENES).to_csv(folder / "expression.csv")
        pd.DataFrame({"age": rng.integers(40, 80, PATIENTS)}, ids).to_csv(folder / "record.csv")
        pd.DataFrame({"text": [f"Drawn, number {number}." for number in range(PATIENTS)]}, ids).to_csv(
            folder / "reports.csv"
        )
        for patient in ids:
            write_slide(folder / "slides" / f"{patient}.tiff", rng)
    (root / "cohort.yaml").write_text(yaml.safe_dump({**declared, "dictionary": dictionary}))


def write_slide(path: Path, rng: np.random.Generator) -> None:
    """Nuclei on eosin, half a micron a pixel."""
    nuclei = np.kron(rng.random((SIDE // 16, SIDE // 16)) < 0.2, np.ones((16, 16), bool))
    picture = np.where(nuclei[..., None], (90, 60, 140), (220, 150, 190)) + rng.normal(0, 6, (SIDE, SIDE, 3))
    with tifffile.TiffWriter(path) as file:
        pixels = np.clip(picture, 0, 255).astype(np.uint8)
        file.write(
            pixels,
            tile=(256, 256),
            photometric="rgb",
            resolution=(2e4, 2e4),
            resolutionunit="CENTIMETER",
            metadata=None,
        )


def start(root: Path, output: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "foundation.data", "prepare", "cohort=folder", "cohort.name=drawn"]
    return subprocess.Popen(
        [*command, f"cohort.root={root}", f"output={output}"], stdout=subprocess.DEVNULL, start_new_session=True
    )


def wait_for_packing(process: "subprocess.Popen[bytes]", output: Path) -> None:
    writing = output.with_name(f".{output.name}.writing")
    wait_until(lambda: writing.exists() or process.poll() is not None, every=0.01)
    if not writing.exists():
        raise SystemExit("prepare ended before it packed anything")


def finish(root: Path, output: Path) -> float:
    """Packs to the end; seconds from the first file on."""
    process = start(root, output)
    wait_for_packing(process, output)
    started = time.monotonic()
    if process.wait() != 0:
        raise SystemExit("prepare failed")
    return time.monotonic() - started


def differences(one: Path, other: Path) -> list[str]:
    """Files that are not the same in both; the run record tells the time and is left out."""
    names = {
        path.relative_to(folder)
        for folder in (one, other)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "run.json"
    }
    return sorted(str(name) for name in names if not same(one / name, other / name))


def same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        root, whole, output = (Path(name) / part for part in ("drawn", "whole", "killed"))
        write_cohort(root)
        seconds = finish(root, whole)
        files = sum(path.is_file() for path in whole.rglob("*"))
        print(f"uninterrupted: {seconds:.1f} s, {files} files", flush=True)
        equal = killed = 0
        while killed < arguments.kills:
            if killed % 2:
                shutil.rmtree(output, ignore_errors=True)  # every other time over nothing, else over an earlier result
            process = start(root, output)
            wait_for_packing(process, output)
            after = rng.uniform(0, seconds)
            time.sleep(after)
            if process.poll() is not None:
                continue  # too late: it had ended
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
            left = "the one before, whole" if output.exists() else "none"
            if output.exists() and differences(whole, output):
                raise SystemExit(f"kill {killed} after {after:.2f} s left a half-written output")
            finish(root, output)
            unequal = differences(whole, output)
            equal += not unequal
            print(f"kill {killed:2} after {after:5.2f} s: output then {left}; {unequal or 'equal'}", flush=True)
    print(f"\nkilled {killed} times: {equal} results equal an uninterrupted run byte for byte (bar: all)")
    if equal < killed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
