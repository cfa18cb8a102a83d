"""The waiting of training steps for their data: share of the step's time, on the embedded and the real cohort.

`python scripts/bench/wait.py` prepares both cohorts and pretrains a while on each, with the settings of its experiment
and with other numbers of workers. The real cohort is that of `--data`, left out where that is absent.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import foundation  # noqa: F401  # isort: skip  # before Lightning: lets torchvision load on a CPU-only torch
import hydra
from commands import run
from pytorch_lightning.profilers import SimpleProfiler
from trainers import changed_trainers

import pretrain.fit

STEPS = 60


def shares(experiment: str, cohort: Path, output: Path, workers: int | None) -> tuple[float, float]:
    """Share of the training time spent waiting for data, and the median step's milliseconds."""
    profiler = SimpleProfiler()
    overrides = [f"experiment={experiment}", f"data.folder={cohort}", "progress=false", "validate_every=0"]
    overrides += [] if workers is None else [f"data.num_workers={workers}"]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("pretrain", overrides)
    hospitals = sorted(path.parent.name for path in cohort.glob("*/patients.parquet"))
    train = [name for name in hospitals if name not in cfg.data.test_hospitals]
    with changed_trainers(lambda trainer: setattr(trainer, "profiler", profiler)):
        pretrain.fit.fit_round(cfg, train, None, output, STEPS, 0, STEPS)
    waits = profiler.recorded_durations["[_TrainingEpochLoop].train_dataloader_next"]
    steps = profiler.recorded_durations["run_training_batch"]
    return sum(waits) / sum(profiler.recorded_durations["run_training_epoch"]), 1000 * statistics.median(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("CONSILIUM_DATA", "../shared/data"))
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        folder = Path(name)
        cohorts = {"demo": ("demo", f"cohort.root={folder}/raw")}
        real = Path(arguments.data) / "tcga_glioma"
        if real.is_dir():
            cohorts["glioma"] = ("tcga_glioma", f"cohort.root={real}")
        else:
            print(f"{real}: absent, so the real cohort is left out")
        lines = []
        for experiment, (cohort, root) in cohorts.items():
            run("foundation.data prepare", f"cohort={cohort}", root, f"output={folder}/{experiment}")
            for workers in [None, *arguments.workers]:
                share, step = shares(experiment, folder / experiment, folder / f"{experiment}-{workers}", workers)
                prefetch = "as configured" if workers is None else f"{workers} workers"
                lines.append(f"{experiment:10}{prefetch:16}{step:9.0f} ms{share:9.1%}")
                print(lines[-1], flush=True)
    print("\n" + "\n".join([f"{'cohort':10}{'':16}{'step':>12}{'waiting':>9}", *lines]))


if __name__ == "__main__":
    main()
