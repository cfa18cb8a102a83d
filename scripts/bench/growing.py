"""Adding 1 % of patients to a prepared cohort beside preparing the grown folder anew: seconds, and whether they agree.

`python scripts/bench/growing.py --patients 100000` writes tables of four hospitals (outcomes, a record of eight
columns, a report of twenty words, `--genes` of expression, and of mutations `--mutations`), prepares them, adds 1 % of
patients at every hospital, prepares again, and prepares the grown folder anew into another. Each is a process of its
own, so that start-up and imports count; what they take alone is printed beside. Processor seconds stand beside those
of the clock: others on the machine disturb them less.
"""

import argparse
import filecmp
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from foundation.data.genes import GeneVocabulary
from foundation.data.synthetic import GENES

HOSPITALS = ("north", "south", "east", "west")
WORDS = np.array(["tumour", "cells", "necrosis", "atypia", "mitoses", "margin", "grade", "high", "low", "sheets"])
RATE = 0.02  # of mutated genes
LABS = [f"lab{number}" for number in range(6)]


def tables(hospital: str, patients: int, genes: list[str], mutated: list[str]) -> dict[str, pd.DataFrame]:
    """By file, a row a patient; the first rows are the same whatever `patients` is."""
    rng = np.random.default_rng([*hospital.encode()])
    many = patients + patients // 10  # drawn column by column, so that more patients would change the first
    ids = pd.Index([f"{hospital}-{number:06d}" for number in range(many)], name="patient_id")
    outcomes = {"biomarker": rng.integers(0, 2, many), "os_event": rng.integers(0, 2, many)}
    record = pd.DataFrame(rng.normal(size=(many, len(LABS))).round(3), ids, LABS)
    words = rng.choice(WORDS, (many, 20))
    files = {
        "patients.csv": pd.DataFrame({**outcomes, "os_days": rng.integers(1, 4000, many)}, ids),
        "record.csv": record.assign(age=rng.integers(20, 90, many), sex=rng.choice(["F", "M"], many)),
        "reports.csv": pd.DataFrame({"text": [" ".join(row) for row in words]}, ids),
        "expression.csv": pd.DataFrame(rng.normal(6, 2, (many, len(genes))).clip(0).round(3), ids, genes),
    }
    if mutated:
        files["mutations.csv"] = pd.DataFrame((rng.random((many, len(mutated))) < RATE).astype(int), ids, mutated)
    return files


def declare(root: Path, genes: list[str]) -> None:
    """Writes cohort.yaml."""
    record: list[dict[str, object]] = [{"name": name, "kind": "continuous"} for name in [*LABS, "age"]]
    record.append({"name": "sex", "kind": "categorical", "values": ["F", "M"]})
    dictionary: dict[str, object] = {
        "genes": genes,
        "expression_unit": "log2_tpm",
        "labels": ["biomarker"],
        "record": record,
    }
    dictionary["survival"] = {"event": "os_event", "time": "os_days"}
    declared = {"name": "big", "synthetic": True, "description": "Drawn.", "hospitals": list(HOSPITALS)}
    (root / "cohort.yaml").write_text(yaml.safe_dump({**declared, "dictionary": dictionary}))


class Took(NamedTuple):
    """What a process took: seconds of the clock, and of processors."""

    clock: float
    processor: float

    def __str__(self) -> str:
        return f"{self.clock:.1f} s ({self.processor:.1f} s of processors)"

    def share(self, of: "Took") -> str:
        """Of another."""
        return f"{self.clock / of.clock:.1%} ({self.processor / of.processor:.1%} of its processor seconds)"


def run(*command: str) -> Took:
    """Runs Python as a process of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def prepare(root: Path, output: Path) -> Took:
    """`python -m foundation.data prepare`."""
    cohort = ("cohort=folder", "cohort.name=big", f"cohort.root={root}")
    return run("-m", "foundation.data", "prepare", *cohort, f"output={output}")


def start_up() -> Took:
    """Until a command that does nothing has read its declaration: start, imports and the list of genes."""
    return run("-c", "import foundation.data.grow, foundation.data.genes as g; g.GeneVocabulary.shipped()")


def differing(one: Path, other: Path) -> list[str]:
    """Packed files that are not the same byte for byte."""
    names = [path.relative_to(one).as_posix() for path in one.rglob("*") if path.suffix in (".npy", ".parquet")]
    names = [name for name in names if "/" in name]
    return [name for name in names if not filecmp.cmp(one / name, other / name, shallow=False)]


def main() -> None:
    """Measures once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10_000, help="before the cohort grows")
    parser.add_argument("--genes", type=int, default=100, help="columns of expression")
    parser.add_argument("--mutations", type=int, default=0, help="columns of mutations, the first of these genes")
    parser.add_argument("--folder", type=Path, help="for all files; a temporary one if not given")
    options = parser.parse_args()
    listed = GENES.read_text().split()
    more = sorted(set(GeneVocabulary.shipped().symbols).difference(listed)) if options.genes > len(listed) else []
    genes = [*listed, *more][: options.genes]
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        root, output, anew = (Path(scratch) / name for name in ("sites", "grown", "anew"))
        each = options.patients // len(HOSPITALS)
        everybody = {hospital: tables(hospital, each, genes, genes[: options.mutations]) for hospital in HOSPITALS}

        def write(patients: int) -> None:
            for hospital, files in everybody.items():
                (root / hospital).mkdir(parents=True, exist_ok=True)
                for file, table in files.items():
                    table.iloc[:patients].to_csv(root / hospital / file)

        write(each)
        declare(root, genes)
        first = prepare(root, output)
        print(f"prepared {4 * each} patients: {first}", flush=True)
        write(each + each // 100)
        grown = prepare(root, output)
        print(f"added {4 * (each // 100)}: {grown}", flush=True)
        again = prepare(root, anew)
        others = differing(output, anew)
        print(f"prepared the grown folder anew: {again}; packed files that differ: {others or 'none'}")
        alone = start_up()
        print(f"start, imports and list of genes alone: {alone}, {alone.share(again)} of preparing anew")
        print(f"adding 1 % of patients took {grown.share(again)} of preparing anew")


if __name__ == "__main__":
    main()
