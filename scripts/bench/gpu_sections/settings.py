"""What is measured at which size, and the project's commands run in this process."""

import csv
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

TINIEST = [
    "encoder.width=32",
    "encoder.fusion_layers=1",
    "encoder.backbone=test_vit",
    "encoder.image_size=32",
    "encoder.text_layers=2",
]
LEAN = ["progress=false", "checkpoint_every=0", "validate_every=0", "monitor_every=0", "loggers=[csv]"]
TRAINERS = {
    "DDP": "ddp",
    "ZeRO-1": "deepspeed_zero1",
    "ZeRO-2": "deepspeed_zero2",
    "ZeRO-3": "deepspeed_zero3",
    "ZeRO-3, offloaded": "deepspeed_zero3_offload",
    "FSDP": "fsdp",
}
_PATIENTS = {"tiny": 256, "small": 128, "base": 64, "large": 32}  # a step, that fit into 80 GiB
_GIB = 80


@dataclass(frozen=True)
class Plan:
    """What all jobs share.

    Attributes:
        folder: scratch.
        toy: everything runs, at a size that measures nothing.
        gib: memory of the device.
        workers: processes of a data loader.
    """

    folder: Path
    toy: bool
    gib: float = _GIB
    workers: int = 1

    @property
    def cohort(self) -> Path:
        return self.folder / "cohort"

    @property
    def sizes(self) -> list[str]:
        """In the order of their weight: what is last is left out where time is short."""
        return ["base"] if self.toy else ["base", "small", "large", "tiny"]

    def patients(self, size: str) -> int:
        """Patients a step: as many as the device's memory holds, by halves."""
        if self.toy:
            return 20  # all that its cohort trains on: the one batch of a run's epoch is that of the bare loops
        patients = _PATIENTS[size]
        while patients > 2 and patients * _GIB > 1.1 * self.gib * _PATIENTS[size]:
            patients //= 2
        return patients

    def overrides(self, size: str) -> list[str]:
        """Settings of `python -m pretrain` for an encoder's size."""
        return [
            f"encoder={size}",
            *(TINIEST if self.toy else []),
            f"data.folder={self.cohort}",
            "data.test_hospitals=[]",
        ]

    @property
    def compile(self) -> str:
        """On a machine without a GPU compilers take minutes: there graphs are captured, and run as they are."""
        return "{backend: eager}" if self.toy else "{}"


def call(module: str, *arguments: str) -> None:
    """What `python -m module arguments` does, in this process."""
    sys.argv = [module, *arguments]
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    __import__(f"{module}.__main__" if module in ("pretrain", "finetune", "serve", "foundation.data") else module)
    entry = sys.modules.get(f"{module}.__main__", sys.modules[module])
    entry.main()


def speed(run: Path) -> dict[str, float]:
    """Medians of the `speed/...` lines of a pretraining run, of those that tell all: the first are warming up."""
    with (run / "csv" / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("speed/samples_per_second")]
    names = [name for name in rows[-1] if name.startswith("speed/") and rows[-1][name]]
    whole = [row for row in rows if all(row[name] for name in names)]
    return {name: statistics.median(float(row[name]) for row in whole) for name in names}
