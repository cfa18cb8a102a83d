"""Spatial transcriptomics: spots of every form become tiles with expression, refused in one line where they cannot."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from foundation.data.cohort import Cohort
from foundation.data.pack import pack
from foundation.data.problems import DataError, Problems
from foundation.encoder import MultimodalEncoder
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.pathology.spot_source import SpotSettings
from foundation.modalities.pathology.spots import read_section
from foundation.modalities.pathology.storage import SpottedImages
from foundation.objectives.expression_from_images import ExpressionFromImages
from tests.foundation.visium_files import (
    DIAMETER,
    GENES,
    SCALE,
    write_anndata,
    write_cohort,
    write_tables,
    write_visium,
)

PLAIN = SpotSettings()


def of_visium(folder: Path) -> tuple[Path, np.ndarray, SpotSettings]:
    counts = write_visium(folder / "v", 1)
    return folder / "v" / "filtered_feature_bc_matrix.h5", counts, PLAIN


def of_older_visium(folder: Path) -> tuple[Path, np.ndarray, SpotSettings]:
    counts = write_visium(folder / "v", 1, header=False)
    return folder / "v" / "filtered_feature_bc_matrix.h5", counts, PLAIN


def of_anndata(folder: Path) -> tuple[Path, np.ndarray, SpotSettings]:
    return folder / "p.h5ad", write_anndata(folder / "p.h5ad", 1), PLAIN


def of_tables(folder: Path) -> tuple[Path, np.ndarray, SpotSettings]:
    counts = write_tables(folder / "t", 1)
    return folder / "t" / "counts.csv", counts, SpotSettings(picture="section.png", diameter=DIAMETER * SCALE)


@pytest.mark.parametrize("write", [of_visium, of_older_visium, of_anndata, of_tables])
def test_spots_become_tiles_with_expression(tmp_path, write):
    path, counts, settings = write(tmp_path)
    section = read_section(path, settings, None, 0)
    assert section.file.counts[section.kept].toarray().tolist() == counts.tolist()
    expected = np.log2(1 + 1e4 * counts / counts.sum(axis=1, keepdims=True))
    expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
    measured = section.expression([*GENES, "KRAS"], counts=True)
    assert np.allclose(measured[:, :3], expected, atol=1e-6)
    assert np.isnan(measured[:, 3]).all(), "not measured"
    tiles = section.tiles(32)
    assert tiles.shape == (len(counts), 32, 32, 3)
    red = tiles[:, 8:24, 8:24].mean(axis=(1, 2))
    assert ((red[:, 0] > red[:, 2]) == (counts[:, 0] > counts[:, 1])).all(), "tiles show where their spots are"


def test_spots_at_the_edge_and_without_counts_are_left_out_and_counted(tmp_path):
    write_visium(tmp_path / "v", 1, outside=0)
    path = tmp_path / "v" / "filtered_feature_bc_matrix.h5"
    problems = Problems()
    assert len(read_section(path, SpotSettings(around=5), None, 0, problems).kept) == 36, "8 by 8 less one on each side"
    assert {step.rule: step.count for step in problems.steps} == {"spots at the picture's edge, left out": 28}
    few = read_section(path, PLAIN, 10, 0)
    assert len(few.kept) == 10 and few.kept.tolist() == read_section(path, PLAIN, 10, 0).kept.tolist()
    assert few.kept.tolist() != read_section(path, PLAIN, 10, 1).kept.tolist()


def without_positions(path: Path) -> None:
    (path.parent / "spatial" / "tissue_positions.csv").unlink()


def without_a_row(path: Path) -> None:
    listing = path.parent / "spatial" / "tissue_positions.csv"
    listing.write_text("\n".join(listing.read_text().splitlines()[:-1]))


def without_picture(path: Path) -> None:
    (path.parent / "spatial" / "tissue_hires_image.png").unlink()


def of_fractions(path: Path) -> None:
    with h5py.File(path, "a") as file:
        data = file["matrix/data"][()] / 2
        del file["matrix/data"]
        file["matrix/data"] = data


def elsewhere(path: Path) -> None:
    factors = path.parent / "spatial" / "scalefactors_json.json"
    factors.write_text(json.dumps({**json.loads(factors.read_text()), "tissue_hires_scalef": 5.0}))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


DAMAGED = {
    "no positions": (without_positions, r"no tissue_positions.csv in spatial/ beside it; copy Space Ranger's whole"),
    "a spot of no place": (without_a_row, r"1 spots have no place, the first \(SPOT063-1\)"),
    "no picture": (without_picture, r"no picture of the section; say spots: \{picture: FILE\}"),
    "no counts": (of_fractions, r"values are no counts; say spots: \{counts: false\} if they are normalised"),
    "another scale": (elsewhere, r"no spot lies within the picture of 36 by 36 pixels whole; see whether places"),
    "cut off": (cut_off, r"no spots that are read here, or damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_spots_are_refused_in_one_line(tmp_path, name):
    damage, line = DAMAGED[name]
    write_visium(tmp_path / "v", 1)
    path = tmp_path / "v" / "filtered_feature_bc_matrix.h5"
    damage(path)
    with pytest.raises(DataError, match=line) as caught:
        read_section(path, PLAIN, None, 0)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    root = tmp_path_factory.mktemp("spatial")
    pack(write_cohort(root / "raw", 2, max_tiles=20), root / "packed")
    return Cohort(root / "packed")


def test_a_prepared_cohort_keeps_tiles_and_expression_together(cohort, tmp_path):
    assert cohort.patients["pathology_count"].to_dict() == {"a0": 20, "a1": 20, "b0": 20, "b1": 20}
    for patient in cohort.patients.index:
        raw = cohort.sample(patient)["pathology"]
        assert isinstance(raw, SpottedImages) and raw.spots.shape == (20, 3)
        colour = raw[:][:, 8:24, 8:24].astype(float).mean(axis=(1, 2))
        red = colour[:, 0] > colour[:, 2]
        assert raw.spots[red, 0].min() > raw.spots[~red, 0].max(), "TP53 where it is red"


def test_tiles_that_are_drawn_bring_their_expression(cohort):
    pathology = Pathology(8, backbone="test_resnet", size=32, max_images=5)
    raw = cohort.sample("a0")["pathology"]
    drawn = pathology.transform(raw, torch.Generator().manual_seed(0))
    assert drawn["spots"].shape == (5, 3)
    colour = drawn["images"][:, 8:24, 8:24].float().mean(dim=(1, 2))
    assert ((colour[:, 0] > colour[:, 2]) == (drawn["spots"][:, 0] > drawn["spots"][:, 1])).all()
    plain = pathology.transform(np.zeros((2, 32, 32, 3), np.uint8), None)
    batch = pathology.collate([plain, pathology.transform(raw, None)])
    assert batch["spots"].shape == (2, 5, 3) and batch["spots"][0, :2].isnan().all()
    assert not batch["spots"][1].isnan().any()


def test_the_objective_reads_spots_and_leaves_patients_without_alone(cohort):
    torch.manual_seed(0)
    modalities = {"pathology": Pathology(8, backbone="test_resnet", size=32), "genomics": Genomics(8, GENES)}
    encoder = MultimodalEncoder(modalities, 8, fusion_layers=1).eval()
    objective = ExpressionFromImages(8)
    spotted = {"pathology": cohort.sample("a0")["pathology"]}
    plain = {"pathology": np.zeros((2, 32, 32, 3), np.uint8)}
    rows = [encoder.transform(sample, None) for sample in (spotted, plain)]
    alone, both = (encoder.collate(part) for part in (rows[:1], rows))
    terms = [objective(encoder, encoder(batch), batch) for batch in (alone, both)]
    assert [term.samples for term in terms] == [{"pathology": 1}, {"pathology": 1}]
    assert torch.allclose(terms[0].loss, terms[1].loss, atol=1e-6)
    nobody = encoder.collate(rows[1:])
    assert objective(encoder, encoder(nobody), nobody) is None


@pytest.mark.parametrize(
    "setting", [{"picture": "/slides/{stem}.tif"}, {"picture": ""}, {"positions": "/a.csv"}, {"around": float("inf")}]
)
def test_settings_that_nothing_can_be_read_by_are_refused(setting):
    with pytest.raises(ValidationError, match=r"no name beside the file of spots|finite"):
        SpotSettings(**setting)
