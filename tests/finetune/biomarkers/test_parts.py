"""Modalities, tiles and words: exact values, the planted part first, and nothing told of few patients."""

import math
from copy import copy
from itertools import combinations

import h5py
import numpy as np
import pytest
import torch

from finetune.biomarkers.evidence import Attribution
from finetune.biomarkers.leave_out import curves, falls
from finetune.biomarkers.outcome import outcome_of
from finetune.biomarkers.report_words import word_keeper, word_part
from finetune.biomarkers.scorer import Scorer
from finetune.biomarkers.settings import Settings
from finetune.biomarkers.shapley import shapley, subset_scores
from finetune.biomarkers.tiles import read_slide, tile_keeper
from finetune.heads.classification import Classification
from finetune.heads.competing import CompetingRisks
from finetune.heads.discrete import DiscreteHazards
from finetune.heads.multilabel import MultiLabel
from finetune.heads.survival import Survival
from finetune.predictor import TaskModel
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.pathology.encoder import Pathology

KINDS = pytest.mark.parametrize("kind", ["experts", "steps"])


def scorer_of(scored) -> Scorer:
    return Scorer(scored.model, scored.cohort)


@KINDS
def test_shapley_values_are_those_of_their_definition_and_add_up(trained, kind):
    scored = trained(kind)
    scorer = scorer_of(scored)
    samples = [scored.cohort.sample(name) for name in scored.patients[:2]]
    del samples[1]["report"]
    values, scores = shapley(scorer, samples, 0.25)
    for row, sample in enumerate(samples):
        names = [name for name in scorer.modalities if name in sample]

        def worth(some, sample=sample) -> float:
            return float(scorer.samples([{name: sample[name] for name in some}])[0]) if some else 0.25

        for name in names:
            others, total = [other for other in names if other != name], 0.0
            for size in range(len(others) + 1):
                weight = math.factorial(size) * math.factorial(len(others) - size) / math.factorial(len(names))
                total += weight * sum(worth([*some, name]) - worth(some) for some in combinations(others, size))
            assert values[row, scorer.modalities.index(name)] == pytest.approx(total, abs=1e-4)
        assert np.nansum(values[row]) == pytest.approx(scores[row] - 0.25, abs=1e-4)
    assert np.isnan(values[1, scorer.modalities.index("report")])
    assert len(subset_scores(scorer, samples[1], ["genomics", "pathology"], 0.0)) == 4


@KINDS
def test_the_planted_tile_makes_the_score_fall_most(trained, kind):
    scored = trained(kind)
    scorer = scorer_of(scored)
    positive = [name for name in scored.patients if scored.cohort.patients.at[name, "biomarker"] == 1][:12]
    planted, gains = [], []
    for name in positive:
        keep = tile_keeper(scorer, scored.cohort.sample(name)["pathology"])
        fall = falls(keep, 5)
        planted.append(int(fall.argmax()) == 0)
        ordered, random = curves(keep, fall, 0)
        gains.append(ordered.mean() - random.mean())
    assert np.mean(planted) > 0.8 and np.mean(gains) > 0


@pytest.mark.parametrize("experts", [True, False])
def test_images_pass_their_backbone_once_and_give_the_same_scores(experts, cohort):
    torch.manual_seed(0)
    encoder = MultimodalEncoder({"pathology": Pathology(16, size=32)}, 16, fusion_layers=1).eval()
    blocks = encoder.feature_sizes(["pathology"]) if experts else None
    head = Classification(16, "biomarker", blocks=blocks).eval()
    if experts:
        head.score.weight.normal_()
        head.score.rules[1, 0] = 1.0
    scorer = Scorer.__new__(Scorer)

    task = {"name": "biomarker", "modalities": ["pathology"], "drop_inputs": {}}
    model = TaskModel(encoder, head, task)
    scorer.model, scorer.head, scorer.encoder, scorer.output, scorer.cohort = model, head, encoder, 1, cohort
    raw = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    shown = [[0, 1, 2, 3], [1, 3], [2]]
    expected = scorer.samples([{"pathology": raw[some]} for some in shown]).numpy()
    np.testing.assert_allclose(tile_keeper(scorer, raw)(shown), expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(expected) > 0


def test_curves_take_the_largest_falls_first_and_leave_one_part():
    shown: list[list[int]] = []

    def keep(subsets: list[list[int]]) -> np.ndarray:
        shown.extend(subsets)
        return np.array([sum(some) for some in subsets], dtype=float)

    fall = falls(keep, 4)
    np.testing.assert_array_equal(fall, [0, 1, 2, 3])
    ordered, random = curves(keep, fall, 0)
    np.testing.assert_array_equal(ordered, [3, 3, 5, 5, 6])
    assert (random <= ordered).all() and min(map(len, shown)) == 1


@KINDS
def test_planted_words_come_first_and_rare_ones_are_not_told(trained, kind):
    scored = trained(kind)
    scorer = scorer_of(scored)
    there, keep = word_keeper(scorer, "No atypia; no necrosis.")
    assert there == ["no", "atypia", "necrosis"]
    whole = scorer.samples([{"report": "No atypia no necrosis"}])
    np.testing.assert_allclose(keep([[0, 1, 2]]), scorer.samples([{"report": "No atypia; no necrosis."}]), atol=1e-5)
    assert len(whole) == 1
    outcome = type("Outcome", (), {"patients": scored.patients})()
    settings = Settings(patients=12, resamples=10, smallest=5)
    part = word_part(scorer, outcome, settings, 0)
    assert part.files["words"]["word"].iloc[0] in {"dense", "necrosis", "no", "atypia"}
    assert part.figures["words/deletion_gain"].value > 0
    assert part.files["words"]["patients"].min() >= 5
    few = word_part(scorer, outcome, Settings(patients=4, resamples=10, smallest=5), 0)
    assert few.files["words"].empty


def test_a_slide_is_drawn_at_its_coordinates(trained, tmp_path):
    scored = trained("experts")
    sample = scored.cohort.sample(scored.patients[0])["pathology"]
    corners = np.array([[0, 0], [512, 0], [1024, 0], [0, 512], [512, 512]])
    with h5py.File(tmp_path / "slide.h5", "w") as file:
        file["features"], file["coords"] = sample, corners
    page = Attribution(slide=str(tmp_path / "slide.h5"), parts=["modalities", "tiles"], patients=6, resamples=10).run(
        scored, 0
    )
    table = page.files["slide"]
    np.testing.assert_array_equal(table[["x", "y"]], corners)
    np.testing.assert_allclose(table["fall"], falls(tile_keeper(scorer_of(scored), sample), 5), atol=1e-5)
    titles = [part["title"] for part in page.sections]
    assert titles == ["Modalities", "Tiles: faithfulness", "Tiles on the slide", "Whose patients"]
    with pytest.raises(UserError, match="holds no tiles.parquet"):
        read_slide(tmp_path)


def test_scores_of_every_kind_of_head_rise_with_what_they_predict():
    scorer = Scorer.__new__(Scorer)
    scorer.head, scorer.output = Classification(4, "x", classes=["a", "b", "c"]), 1
    scores = torch.tensor([[1.0, 2.0, 3.0]])
    chance = scores.softmax(dim=1)[0, 1]
    assert scorer.scalar(scores) == pytest.approx(float(torch.logit(chance)), rel=1e-5)
    scorer.head, scorer.output = MultiLabel(4, ["x", "y"]), 1
    assert float(scorer.scalar(torch.tensor([[5.0, 7.0]]))) == 7.0
    scorer.head, scorer.output = DiscreteHazards(4), 0
    low, high = torch.full((1, len(scorer.head.edges)), -3.0), torch.full((1, len(scorer.head.edges)), 1.0)
    assert scorer.scalar(high) > scorer.scalar(low)
    scorer.head, scorer.output = CompetingRisks(4, ["relapse", "death"]), 1
    alone, crowded = (torch.cat([relapse, low], dim=1) for relapse in (low, high))
    assert scorer.scalar(alone) > scorer.scalar(crowded), "a cause that comes seldom first is seldom seen"
    assert scorer.scalar(torch.cat([low, high], dim=1)) > scorer.scalar(alone)


def test_residuals_of_a_cause_take_the_others_as_censored(cohort):
    head, survival = CompetingRisks(4, ["relapse", "death"]), Survival(4)
    table = cohort.patients.assign(cause=cohort.patients["os_event"] * 2)
    other = copy(cohort)
    other.patients = table
    patients = table.index.tolist()
    plain, death = outcome_of(survival, 0, cohort, patients), outcome_of(head, 1, other, patients)
    np.testing.assert_array_equal(death.residual, plain.residual)
    assert death.words == "cause = death (martingale residuals by hospital)"
    with pytest.raises(UserError, match="no two of them differ"):
        outcome_of(head, 0, other, patients)


def test_an_output_that_the_model_lacks_and_a_part_that_is_none_are_one_line(trained):
    scored = trained("experts")
    with pytest.raises(UserError, match="found 'mutated'; the model has negative, positive"):
        Scorer(scored.model, scored.cohort, "mutated")
    with pytest.raises(UserError, match="evidence.parts: found 'cells'"):
        Attribution(parts=["cells"])
