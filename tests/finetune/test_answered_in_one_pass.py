"""An answer with its reliability passes each backbone once, and says what two passes would."""

from typing import Any

import numpy as np
import pytest
import torch

from finetune.heads.classification import Classification
from finetune.predictor import TaskModel
from finetune.reliability.module import Reliability
from foundation.encoder import MultimodalEncoder
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.radiology.encoder import Radiology
from foundation.modalities.record.encoder import Record
from foundation.modalities.report.encoder import Report

IMAGES = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
COLUMNS = [{"name": "age", "kind": "continuous", "center": 60, "scale": 10}]
LAYERS = {"feature_layers": ["layer1", "layer3+layer2"]}


@pytest.fixture(params=[{}, LAYERS], ids=["last", "layers"])
def model(request: pytest.FixtureRequest) -> TaskModel:
    """A model of images, record and report, with what says how far its answers can be relied on."""
    torch.manual_seed(0)
    images: dict[str, Any] = {"backbone": "test_resnet", "size": 64, **request.param}
    modalities = {
        "pathology": Pathology(16, **images),
        "radiology": Radiology(16, **images),
        "record": Record(16, COLUMNS),
        "report": Report(16, layers=1),
    }
    encoder = MultimodalEncoder(modalities, 16, fusion_layers=1)
    sizes = {name: module.feature_sizes() for name, module in modalities.items()}
    blocks = [[name, block, size] for name, inner in sizes.items() for block, size in inner.items()]
    task = {"name": "biomarker", "modalities": list(modalities), "drop_inputs": {}}
    reliability = Reliability(list(modalities), blocks, 2).eval()
    return TaskModel(encoder, Classification(16, "biomarker"), task, reliability)


def test_an_answer_with_its_reliability_passes_each_backbone_once(model: TaskModel):
    samples = [{"pathology": IMAGES, "record": {"age": 61.0}}, {"pathology": IMAGES[:1], "radiology": IMAGES[1:3]}]
    batch = model.encoder.encode_samples(samples)
    passes: list[str] = []
    for name in ("pathology", "radiology"):
        stem = model.encoder.modalities[name].backbone.conv1[0]
        stem.register_forward_hook(lambda *arguments, name=name: passes.append(name))
    text = model.encoder.modalities["report"].text
    text.register_forward_hook(lambda *arguments: passes.append("report"))
    assert [answer.reliability is not None for answer in model.answer(batch)] == [True, True]
    assert sorted(passes) == ["pathology", "radiology"]


def test_a_reading_has_the_bytes_of_scores_and_features_apart(model: TaskModel):
    batch = model.encoder.encode_samples([{"pathology": IMAGES, "report": "tumor"}, {"radiology": IMAGES[:2]}])
    reading = model.read(batch)
    with torch.no_grad():
        features = model.encoder.features(batch, model.task["modalities"])
    assert torch.equal(reading.scores, model.score_batch(batch))
    assert torch.equal(reading.features.isnan(), features.isnan())
    assert torch.equal(reading.features.nan_to_num(), features.nan_to_num())
