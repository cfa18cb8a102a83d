"""Encoders of every kind as a program: transformers over tiles and words, adapters, pathways, whole scans."""

from itertools import combinations
from pathlib import Path

import pytest
import torch

from finetune.heads.classification import Classification
from finetune.predictor import TaskModel
from foundation.encoder import MultimodalEncoder
from foundation.modalities.base import Inputs, Modality
from foundation.modalities.genomics.pathways import PathwayGenomics
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.pathology.features import TileFeatures
from foundation.modalities.radiology.encoder import Radiology
from foundation.modalities.radiology_volumes.encoder import RadiologyVolumes
from foundation.modalities.report.encoder import Report
from serve.program import archive
from serve.program.core import Core, rows

pytestmark = pytest.mark.slow
WIDTH = 32
GENES = [f"G{place}" for place in range(12)]
STAIN = {"mean": [0.1, 0.1, 0.1], "spread": [0.1, 0.1, 0.1]}


def modalities(kind: str) -> dict[str, Modality]:
    if kind == "tiles and words by transformers":
        return {"pathology": TileFeatures(WIDTH, dim=8), "report": Report(WIDTH, layers=1, pooling="transformer")}
    if kind == "pathways and a vision transformer":
        sets = {"a": GENES[:6], "b": GENES[6:]}
        images = Pathology(WIDTH, backbone="test_vit", size=32, stain_reference=STAIN)
        return {"genomics": PathwayGenomics(WIDTH, GENES, sets=sets), "pathology": images}
    slices = Radiology(WIDTH, backbone="test_resnet", size=32, tune="lora", lora_rank=2)
    return {"radiology_volumes": RadiologyVolumes(WIDTH, {"shape": (16, 16, 16)}, channels=8), "radiology": slices}


def filled(inputs: Inputs) -> Inputs:
    """The same with values drawn at random."""
    drawn = {torch.float32: torch.rand_like, torch.uint8: lambda like: torch.randint_like(like, 256)}
    return {name: drawn[value.dtype](value) if value.dtype in drawn else value for name, value in inputs.items()}


@pytest.mark.parametrize(
    "kind", ["tiles and words by transformers", "pathways and a vision transformer", "scans whole and by slices"]
)
def test_encoders_of_every_kind_are_exported_and_answer_as_eager(kind: str, tmp_path: Path):
    torch.manual_seed(0)
    parts = modalities(kind)
    encoder, names = MultimodalEncoder(parts, WIDTH, fusion_layers=1), list(parts)
    model = TaskModel(encoder, Classification(WIDTH, "x"), {"name": "x", "drop_inputs": {}, "modalities": names})
    assert archive.write(tmp_path / archive.FILE, model, names) is None
    run, weights = archive.read(tmp_path / archive.FILE).module(), archive.weights_of(Core(model, names))
    patient = {name: filled(part.transform(part.blank(), None)) for name, part in parts.items()}
    for some in [one for count in range(1, len(names) + 1) for one in combinations(names, count)]:
        for count in (1, 3):
            patients = [{name: patient[name] for name in some}] * count
            with torch.inference_mode():
                scores, _ = run(weights, *rows(model, names, patients))
                expected = model.score_batch(encoder.collate(patients))
            assert expected.isfinite().all()
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
