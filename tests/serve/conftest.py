"""An untrained task model with all five modalities, as `python -m finetune` leaves it, and its bundle."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from finetune.fit import save
from finetune.heads.classification import Classification
from finetune.module import FinetuneModule
from foundation.data.cohort import Cohort
from foundation.data.splits import split
from foundation.encoder import MultimodalEncoder
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.radiology.encoder import Radiology
from foundation.modalities.record.encoder import Record
from foundation.modalities.report.encoder import Report
from foundation.run_record import RunRecord
from serve.bundle import write_bundle
from serve.predictor import Predictor

WIDTH = 32


@pytest.fixture(scope="session")
def cohort(small_cohort: Path) -> Cohort:
    return Cohort(small_cohort)


@pytest.fixture(scope="session")
def run(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetuned")
    torch.manual_seed(0)
    columns = [column.model_dump() for column in cohort.dictionary.record]
    modalities = {
        "pathology": Pathology(WIDTH, backbone="test_resnet", size=32),
        "radiology": Radiology(WIDTH, backbone="test_resnet", size=32),
        "genomics": Genomics(WIDTH, cohort.dictionary.genes),
        "report": Report(WIDTH, layers=1),
        "record": Record(WIDTH, columns),
    }
    encoder = MultimodalEncoder(modalities, WIDTH, fusion_layers=1)
    # As after training: moments of expression that are not those of the start.
    encoder.modalities["genomics"].expression_mean += 4
    module = FinetuneModule(encoder, Classification(WIDTH, "biomarker")).eval()
    task = OmegaConf.create({"name": "biomarker", "drop_inputs": {}})
    with RunRecord.open(folder, "python -m finetune", {}, 0, [cohort.folder], cohort.facts()) as record:
        record.note("samples", dict.fromkeys(modalities, 9))
        save(module, task, list(modalities), folder)
        split(cohort, ["summit"], 0.2, 0).save(folder / "split.json", cohort.digest)
    return folder


@pytest.fixture(scope="session")
def bundle(run: Path, cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "bundle"
    write_bundle(run, folder, None, cohort)
    return folder


@pytest.fixture(scope="session")
def predictor(bundle: Path) -> Predictor:
    return Predictor.load(bundle)


@pytest.fixture(scope="session")
def complete(cohort: Cohort) -> str:
    """A patient who has everything."""
    return next(patient for patient in cohort.patients.index if len(cohort.sample(patient)) == 5)
