"""A federated evaluation over eight sites: one exchange of tables, and its seconds beside inference.

`python scripts/bench/federated_evaluation.py` makes eight synthetic hospitals of the embedded kind (480 patients), a
classifier and a survival head on an encoder of the embedded size, and evaluates each across the hospitals in this
process, site after site: what eight machines do at once stands here one behind the other. It prints the seconds of the
whole, those in which patients are read and encoded, and the rest, which the bar of 10 s is for; by the clock and in
processor time, which a busy machine does not lengthen.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import hydra
import numpy as np
import torch
from omegaconf import DictConfig

from finetune.federated import evaluate as command
from finetune.federated import tables
from finetune.fit import save
from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.heads.survival import Survival
from finetune.module import FinetuneModule
from foundation.data import synthetic
from foundation.data.cohort import Cohort
from foundation.run_record import RunRecord
from foundation.statistics.table import Floats
from pretrain.fit import build_module

BAR = 10.0
NAMES = ("alder", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hazel")
QUIET = ["progress=false", "loggers=[]"]


def cohort_of(folder: Path) -> Path:
    """Eight hospitals like the four of the embedded cohort, prepared."""
    from commands import run

    sites = tuple(replace(synthetic.SITES[at % 4], name=name) for at, name in enumerate(NAMES))
    with mock.patch.object(synthetic, "SITES", sites):
        synthetic.write(folder / "raw")
    run(
        "foundation.data prepare",
        "cohort=folder",
        f"cohort.root={folder / 'raw'}",
        f"output={folder / 'cohort'}",
    )
    return folder / "cohort"


def configured(name: str, *overrides: str) -> DictConfig:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        return hydra.compose(name, list(overrides))


def task_model(cohort: Path, folder: Path, kind: type[Head], **settings: Any) -> Path:
    """A model as `python -m finetune` leaves one, untrained: what evaluation costs does not hang on its weights."""
    torch.manual_seed(0)
    cfg = configured("pretrain", "experiment=demo", f"data.folder={cohort}", *QUIET)
    encoder = build_module(cfg, None, 0, 1).encoder
    task = DictConfig({"name": folder.name, "drop_inputs": {}})
    save(FinetuneModule(encoder, kind(encoder.width, **settings)), task, list(encoder.modalities), folder)
    data = {"test_hospitals": [], "folds": 0, "fold": 0, "stratify": None, "split_file": None}
    data |= {"validation_fraction": 0.0, "split_seed": 0}
    with RunRecord.open(folder, "python -m finetune", {"data": data}, 0, [], Cohort(cohort).facts()):
        return folder


def now() -> Floats:
    """By the clock and in processor time."""
    return np.array([time.perf_counter(), time.process_time()])


def seconds(cohort: Path, model: Path, replicates: int) -> tuple[Floats, Floats]:
    """Of the whole evaluation, and those of reading and encoding patients; by the clock and in processor time."""
    inference = np.zeros(2)
    estimates = tables._estimates

    def timed(*arguments: Any) -> Any:
        nonlocal inference
        began = now()
        result = estimates(*arguments)
        inference = inference + now() - began
        return result

    cfg = configured(
        "evaluate_federated", f"run={model}", f"data.folder={cohort}", "federation=serial",
        f"replicates={replicates}", "part=train",
    )  # fmt: skip
    command.settle(cfg)
    with mock.patch.object(tables, "_estimates", timed):
        began = now()
        command.evaluate(cfg)
        return now() - began, inference


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line a task, and the worst rest last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=200, help="of the patient bootstrap")
    options = parser.parse_args(arguments)
    worst = np.zeros(2)
    with tempfile.TemporaryDirectory() as scratch:
        cohort = cohort_of(Path(scratch))
        for name, kind, settings in (
            ("biomarker", Classification, {"target": "biomarker"}),
            ("survival", Survival, {}),
        ):
            model = task_model(cohort, Path(scratch) / name, kind, **settings)
            whole, inference = seconds(cohort, model, options.replicates)
            rest = whole - inference
            parts = ("clock", "processor")
            for part, all_of_it, encoding, left in zip(parts, whole, inference, rest, strict=True):
                print(f"{name}, {part}: {all_of_it:.1f} s, reading and encoding {encoding:.1f} s, rest {left:.1f} s")
            worst = np.maximum(worst, rest)
    how = f"eight sites one after another, {options.replicates} replicates"
    print(f"seconds beside inference, {how}: {worst[0]:.1f}, in processor time {worst[1]:.1f} (bar {BAR:g})")


if __name__ == "__main__":
    main()
