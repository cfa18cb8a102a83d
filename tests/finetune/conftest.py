"""A small synthetic cohort and an untrained model of a task: enough to see what evaluation and prediction do."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.encoder import MultimodalEncoder
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.record.encoder import Record
from foundation.modalities.report.encoder import Report

WIDTH = 32
Build = Callable[..., TaskModel]


@pytest.fixture(scope="session")
def cohort(small_cohort: Path) -> Cohort:
    return Cohort(small_cohort)


@pytest.fixture(scope="session")
def build(cohort: Cohort) -> Build:
    """A task model on the cohort's own vocabularies: three modalities, no images."""

    def made(head: Head | None = None, drop_inputs: dict | None = None, genes: list[str] | None = None) -> TaskModel:
        torch.manual_seed(0)
        columns = [column.model_dump() for column in cohort.dictionary.record]
        modalities = {
            "genomics": Genomics(WIDTH, genes or cohort.dictionary.genes),
            "report": Report(WIDTH, layers=1),
            "record": Record(WIDTH, columns),
        }
        encoder = MultimodalEncoder(modalities, WIDTH, fusion_layers=1)
        task = {"name": "biomarker", "modalities": list(modalities), "drop_inputs": drop_inputs or {}}
        return TaskModel(encoder, head or Classification(WIDTH, "biomarker"), task)

    return made
