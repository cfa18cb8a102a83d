"""Releases of the small cohort, each trained on some of its patients, and runs that go on from them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from finetune.fit import fit, save
from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.module import FinetuneModule
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder
from tests.finetune.test_private import configured

Run = Callable[..., FinetuneModule]
QUICK = [
    "private=null",
    "loggers=[]",
    "speed_every=0",
    "calibration=null",
    "reliability=null",
    "data.batch_size=16",
    "data.modality_dropout=0.0",
    "steps=20",
    "validate_every=0",
    "checkpoint_every=0",
    "optimizer.learning_rate=0.01",
]


@pytest.fixture
def run(cohort: Cohort, build, tmp_path: Path) -> Run:
    """Trains patients `first` to `last` into a folder, from scratch or from what another folder holds."""

    def trained(
        folder: str, first: int, last: int, *overrides: str, release: str | None = None, head: Head | None = None
    ):
        torch.manual_seed(0)
        start = (
            build().encoder if release is None else MultimodalEncoder.from_pretrained(tmp_path / release / "encoder")
        )
        made = head or Classification(start.width, "biomarker", dropout=0.0)
        patients = list(cohort.patients.index)
        parts = [
            PatientDataset(cohort, some, list(start.modalities), made.targets)
            for some in (patients[first:last], patients[-20:])
        ]
        cfg = configured(
            *QUICK, f"output={tmp_path / folder}", f"pretrained={tmp_path / (release or 'none')}", *overrides
        )
        module, _ = fit(cfg, start, made, *parts)
        save(module, cfg.task, list(start.modalities), tmp_path / folder)
        return module

    return trained
