"""A small synthetic cohort and an untrained model of a task: enough to see what evaluation and prediction do."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch

from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.predictor import TaskModel
from foundation.data import synthetic
from foundation.data.cohort import Cohort
from foundation.data.pack import pack
from foundation.encoder import MultimodalEncoder
from foundation.modalities.genomics import Genomics
from foundation.modalities.record import Record
from foundation.modalities.report import Report

WIDTH = 32
Build = Callable[..., TaskModel]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    counts = (24, 6, 14, 16)
    sites = [dataclasses.replace(site, patients=count) for site, count in zip(synthetic.SITES, counts, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "SITES", tuple(sites))
        synthetic.write(folder / "raw")
    pack(folder / "raw", folder / "demo")
    return Cohort.load(folder / "demo")


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
