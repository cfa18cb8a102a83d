"""Spots from images: trained on some patients, their expression is told on others, gene by gene."""

import numpy as np
import pytest
import torch

from foundation.data.cohort import Cohort
from foundation.data.dataset import Collate, PatientDataset
from foundation.data.pack import pack
from pretrain.fit import build_module
from pretrain.spots import _correlations, spot_correlation, write_spots
from tests.foundation.visium_files import GENES, write_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    root = tmp_path_factory.mktemp("spots")
    pack(write_cohort(root / "raw", 3), root / "packed")
    return Cohort(root / "packed")


def test_expression_that_a_picture_shows_is_told_of_patients_held_back(cohort, configure, tmp_path):
    only = [
        "~modality.radiology",
        "~modality.report",
        "~modality.record",
        "~objective.alignment",
        "~objective.masked_genes",
    ]
    objective = "+objective.expression_from_images._target_="
    objective += "foundation.objectives.expression_from_images.ExpressionFromImages"
    settings = [f"data.folder={cohort.folder}", "modality.pathology.max_images=16", "encoder.image_size=32"]
    module = build_module(configure(*only, objective, *settings), None, 0, 1)
    train, held_back = (PatientDataset(cohort, [f"{name}{n}" for n in range(3)], ["pathology"]) for name in "ab")
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    module.train()
    for epoch in range(25):
        batch = Collate(module.encoder, True, epoch)([train[index] for index in range(3)])
        term = module.objectives["expression_from_images"](module.encoder, module.encoder(batch), batch)
        optimizer.zero_grad()
        term.loss.backward()
        optimizer.step()
    table = spot_correlation(module, held_back).set_index("gene")
    assert table.index.tolist() == GENES
    assert table["patients"].tolist() == [3, 3, 3] and table["spots"].tolist() == [3 * 61] * 3
    best = {gene: np.mean([seen(cohort, patient)[gene] for patient in held_back.patients]) for gene in GENES[:2]}
    for gene, sign in (("TP53", 1), ("EGFR", -1)):
        assert table.at[gene, "correlation"] == pytest.approx(sign * best[gene], abs=0.01), "of whoever sees the colour"
    assert abs(table.at["PTEN", "correlation"]) < 0.5, "which no picture shows"
    facts = write_spots(module, held_back, tmp_path)
    assert facts["genes"] == 3 and facts["patients"] == 3
    assert (tmp_path / "spots.csv").read_text().startswith("gene,correlation,patients,spots\n")


def seen(cohort: Cohort, patient: str) -> dict[str, float]:
    """Correlation of each gene with the colour of the tile's middle: as much as a picture shows."""
    raw = cohort.sample(patient)["pathology"]
    colour = raw[:][:, 8:24, 8:24].astype(float).mean(axis=(1, 2))
    red = colour[:, 0] > colour[:, 2]
    return {gene: np.corrcoef(red, raw.spots[:, place])[0, 1] for place, gene in enumerate(GENES)}


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    predicted, measured = rng.normal(size=(2, 30, 4))
    measured[:5, 1], measured[:, 2], predicted[:, 3] = np.nan, np.nan, 1.0
    expected = [
        np.corrcoef(predicted[5 * (gene == 1) :, gene], measured[5 * (gene == 1) :, gene])[0, 1] for gene in (0, 1)
    ]
    correlations = _correlations(predicted, measured)
    assert np.allclose(correlations[:2], expected) and np.isnan(correlations[2:]).all()


def test_a_cohort_without_spots_says_nothing_of_them(small_cohort, configure, tmp_path):
    cohort = Cohort(small_cohort)
    module = build_module(configure("objective=full"), None, 0, 1)
    dataset = PatientDataset(cohort, cohort.patients.index[:2].tolist(), ["pathology"])
    assert write_spots(module, dataset, tmp_path) == {} and not (tmp_path / "spots.csv").exists()
