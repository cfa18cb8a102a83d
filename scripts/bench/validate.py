"""Seconds and memory of `validate` on a table-only cohort of 100,000 synthetic patients.

`python scripts/bench/validate.py` writes ten hospitals of patients, records, reports, expression and mutations of 200
genes, seeded, and runs the real command. The bars: under 60 s and under 2 GiB, all its processes together.
"""

import argparse
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml
from commands import run

from foundation.data.genes import GeneVocabulary

HOSPITALS, GENES = 10, 200
_TEXT = """specimen shows infiltrating glioma with necrosis mitoses microvascular proliferation nuclear atypia moderate
marked cellularity immunohistochemistry positive negative for markers of lineage margins involved resection left right
frontal temporal lobe grade compatible findings discussed at conference"""


def write(root: Path, patients: int, seed: int = 0) -> None:
    """`cohort.yaml` and a folder a hospital."""
    rng = np.random.default_rng(seed)
    symbols = GeneVocabulary.shipped().symbols
    genes = sorted(rng.choice(symbols, GENES, replace=False).tolist())
    names = [f"hospital_{number}" for number in range(HOSPITALS)]
    record = [
        {"name": "age", "kind": "continuous", "center": 60, "scale": 12},
        {"name": "ldh", "kind": "continuous", "center": 200, "scale": 60},
        {"name": "sex", "kind": "categorical", "values": ["female", "male"]},
    ]
    survival = {"event": "os_event", "time": "os_days"}
    dictionary = {"genes": genes, "record": record, "labels": ["response"], "survival": survival}
    declared = {"name": "bench", "synthetic": True, "description": "drawn at random", "hospitals": names}
    (root / "cohort.yaml").write_text(yaml.safe_dump({**declared, "dictionary": dictionary}))
    for number, name in enumerate(names):
        (root / name).mkdir()
        _write_hospital(root / name, number, patients // HOSPITALS, genes, rng)


def _write_hospital(folder: Path, number: int, count: int, genes: list[str], rng: np.random.Generator) -> None:
    index = pd.Index([f"H{number}-{place:07}" for place in range(count)], name="patient_id")
    day = pd.Timestamp("2005-01-01") + pd.to_timedelta(rng.integers(0, 2000, count), "D")
    days = rng.integers(1, 3000, count)
    patients = {
        "response": rng.integers(0, 2, count),
        "os_event": rng.integers(0, 2, count),
        "os_days": days,
        "diagnosis_date": day.strftime("%Y-%m-%d"),
        "follow_up_date": (day + pd.to_timedelta(days, "D")).strftime("%Y-%m-%d"),
    }
    pd.DataFrame(patients, index).to_csv(folder / "patients.csv")
    values = {"age": rng.integers(20, 90, count), "ldh": rng.normal(200, 40, count).round(1)}
    pd.DataFrame({**values, "sex": rng.choice(["female", "male"], count)}, index).to_csv(folder / "record.csv")
    words = rng.choice(_TEXT.split(), (count, 60))
    texts = [" ".join(row) + "." for row in words]
    pd.DataFrame({"text": texts, "date": patients["diagnosis_date"]}, index).to_csv(folder / "reports.csv")
    levels = rng.gamma(2, 2, (count, len(genes))).clip(max=16).round(3)
    pd.DataFrame(levels, index, genes).to_csv(folder / "expression.csv")
    pd.DataFrame((rng.random(levels.shape) < 0.05).astype(int), index, genes).to_csv(folder / "mutations.csv")


class Peak:
    """Largest resident memory of this process's descendants together, looked at ten times a second."""

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            total = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.bytes = max(self.bytes, total)


def main() -> None:
    """Writes, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=100_000)
    parser.add_argument("--most-seconds", type=float, default=60.0)
    parser.add_argument("--most-gib", type=float, default=2.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "sites"
        root.mkdir()
        started = time.monotonic()
        write(root, arguments.patients)
        print(f"{arguments.patients} patients written in {time.monotonic() - started:.0f} s", flush=True)
        cohort = ("cohort=folder", "cohort.name=bench", f"cohort.root={root}", f"output={scratch}/report")
        with Peak() as peak:
            seconds = run("foundation.data validate", *cohort)
    gib = peak.bytes / 2**30
    most, most_gib = arguments.most_seconds, arguments.most_gib
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = f"{used.ru_utime + used.ru_stime:.1f} s of processors"
    print(f"validate: {seconds:.1f} s (bar {most:g}), {busy}, {gib:.2f} GiB at most (bar {most_gib:g})")
    if seconds > most or gib > most_gib:
        sys.exit("a bar is missed")


if __name__ == "__main__":
    main()
