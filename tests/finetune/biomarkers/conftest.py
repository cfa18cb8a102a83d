"""A cohort in which one gene drives the label, and models of both kinds that were trained on four of its hospitals."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from finetune.fit import save
from finetune.heads.classification import Classification
from finetune.module import FinetuneModule
from finetune.trial.patients import ScoredPatients
from foundation.data.cohort import Cohort
from foundation.encoder import MultimodalEncoder
from foundation.files import write_json
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.pathology.features import TileFeatures
from foundation.modalities.report.encoder import Report

WIDTH, GENES, DIM = 16, [f"G{place}" for place in range(40)], 6
DRIVER = "G7"
Trained = Callable[[str], ScoredPatients]


def planted(cohort: Cohort, size: int = 300) -> Cohort:
    """Six hospitals; expression of one gene, the second feature of a first tile, and a word go with the label."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, size).astype(float)
    names = [f"p{place:03d}" for place in range(size)]
    expression = rng.normal(size=(size, len(GENES))).astype(np.float32)
    expression[:, GENES.index(DRIVER)] += 2 * label
    mutations = (rng.random((size, len(GENES))) < 0.2).astype(np.float32)
    nothing = np.full(len(GENES), np.nan, np.float32)
    tiles = rng.normal(size=(size, 5, DIM)).astype(np.float32)
    tiles[:, 0, 1] += 6 * label
    made = copy.copy(cohort)
    made.dictionary = cohort.dictionary.model_copy(update={"genes": GENES, "labels": ["biomarker"]})
    hospitals = [f"h{place % 6}" for place in range(size)]
    made.patients = pd.DataFrame(
        {"hospital": hospitals, "biomarker": label, "genomics": True, "pathology": True, "report": True}, index=names
    )
    made.modalities = ["genomics", "pathology", "report"]
    words = ["dense necrosis", "no atypia"]

    def sample(patient: str, modalities: list[str] | None = None) -> dict:
        row = names.index(patient)
        genes = {"expression": expression[row], "mutations": mutations[row], "copy_number": nothing}
        text = f"sheets of tumour cells with {words[int(label[row] == 0)]}"
        has = {"genomics": genes, "pathology": tiles[row], "report": text}
        return {name: value for name, value in has.items() if modalities is None or name in modalities}

    made.sample = sample
    return made


@pytest.fixture(scope="session")
def planted_cohort(cohort: Cohort) -> Cohort:
    return planted(cohort)


@pytest.fixture(scope="session")
def trained(planted_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The patients of two hospitals, with a model of `experts` or of `steps` that learnt from the other four."""
    kept: dict[str, ScoredPatients] = {}

    def made(kind: str) -> ScoredPatients:
        if kind not in kept:
            kept[kind] = _trained(planted_cohort, kind, tmp_path_factory.mktemp(kind))
        return kept[kind]

    return made


def _trained(cohort: Cohort, kind: str, folder: Path) -> ScoredPatients:
    torch.manual_seed(0)
    modalities = {
        "genomics": Genomics(WIDTH, GENES),
        "pathology": TileFeatures(WIDTH, DIM, pooling="gated", drop_rate=0.0),
        "report": Report(WIDTH, layers=1),
    }
    encoder = MultimodalEncoder(modalities, WIDTH, fusion_layers=1, dropout=0.0)
    names = list(modalities)
    table = cohort.patients
    learnt = table["hospital"].isin(["h0", "h1", "h2", "h3"])
    train, test = list(table.index[learnt]), list(table.index[~learnt])
    batch = encoder.encode_samples([cohort.sample(name) for name in train])
    label = table.loc[train, "biomarker"].to_numpy(float)
    blocks = encoder.feature_sizes(names) if kind == "experts" else None
    head = Classification(WIDTH, "biomarker", blocks=blocks, dropout=0.0)
    if kind == "experts":
        with torch.no_grad():
            features = encoder.eval().features(batch, names).double().numpy()
        head.fit_experts(features, {"biomarker": label}, table.loc[train, "hospital"].tolist(), distil=False)
    else:
        _learn(encoder, head, batch, torch.from_numpy(label).float())
    model = folder / "model"
    model.mkdir()
    task = {"name": "biomarker", "drop_inputs": {}}
    save(FinetuneModule(encoder, head), OmegaConf.create(task), names, model)
    write_json(model / "split.json", {"train": train, "validation": [], "test": test})
    write_json(model / "run.json", {"config": {"embeddings": None}, "command": "python -m finetune", "builds_on": []})
    record = {"config": {"run": str(model)}, "command": "python -m finetune.evaluate", "builds_on": []}
    write_json(folder / "run.json", record)
    scores = table.loc[test, ["hospital", "biomarker"]].assign(score=0.5)
    return ScoredPatients(scores, cohort, folder, "test", "")


def _learn(encoder: MultimodalEncoder, head: Classification, batch, label: Tensor) -> None:
    """Each modality alone, for that is how it is looked at."""
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 5e-3)
    encoder.train()
    for step in range(60):
        name = list(batch.inputs)[step % 3]
        nobody = torch.zeros(len(label), dtype=torch.bool)
        present = {other: batch.present[other] if other == name else nobody for other in batch.present}
        shown = type(batch)(batch.patients, present, {name: batch.inputs[name]})
        scores = head(encoder(shown).fused)
        loss = binary_cross_entropy_with_logits(scores[:, 1] - scores[:, 0], label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.eval()
