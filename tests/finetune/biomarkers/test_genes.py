"""Genes: the planted one comes first, whatever the model is made of; null genes stay at the level."""

import functools
import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from finetune.biomarkers.attribution import deletion, infidelity_figures, integrated_gradients
from finetune.biomarkers.evidence import Attribution
from finetune.biomarkers.genes import directions, explain_genes, held_out_tests, sum_pathways, varied
from finetune.biomarkers.outcome import outcome_of
from finetune.biomarkers.scorer import Scorer
from foundation.errors import UserError
from foundation.files import write_json
from foundation.lineage import NOTE, note_of
from tests.finetune.biomarkers.conftest import DRIVER, GENES


@pytest.fixture(scope="module")
def explained(trained):
    """Genes of each kind of model, explained once."""
    return functools.cache(lambda kind: explain(trained(kind)))


def explain(scored):
    scorer = Scorer(scored.model, scored.cohort)
    return explain_genes(scorer, outcome_of(scorer.head, scorer.output, scored.cohort, scored.patients))


@pytest.mark.parametrize("kind", ["experts", "steps"])
def test_the_driver_ranks_first_and_few_others_are_discovered(explained, kind):
    genes = explained(kind)
    order = np.argsort(-genes.importance)
    assert genes.names[order[0]] == f"{DRIVER}, expression"
    tested = held_out_tests(genes, 1999, 5, 0)
    assert tested.discoveries(0.05)[order[0]] and tested.discoveries(0.05).sum() <= 3
    assert (tested.false_alarms(0.05) > 0).mean() < 0.1
    assert genes.attributed.gap < 0.05  # completeness: attributions add up to the change of the score


@pytest.mark.parametrize("kind", ["experts", "steps"])
def test_gradients_of_a_score_add_up_to_its_change_from_the_baseline(explained, kind):
    genes = explained(kind)
    with torch.no_grad():
        known = ~genes.attributed.values.isnan()
        full = genes.score(genes.attributed.values)
        start = genes.score(torch.where(known, genes.attributed.baseline, torch.nan))
    gap = (genes.attributed.shares.sum(dim=1) - (full - start)).abs().max()
    assert gap < 0.05 * full.std()
    assert not genes.attributed.shares[~known].any()
    if kind == "steps":  # a share of each token's, the same for the three channels of a gene
        assert genes.attention.reshape(3, -1).sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    else:
        assert genes.attention is None


def test_of_a_linear_score_attributions_are_weights_times_differences():
    torch.manual_seed(0)
    values, baseline, weight = torch.randn(8, 5), torch.randn(5), torch.randn(5)
    values[0, 2] = torch.nan

    def score(shown: torch.Tensor) -> torch.Tensor:
        return shown.nan_to_num() @ weight

    attributed = integrated_gradients(score, values, baseline)
    expected = torch.where(values.isnan(), 0.0, (values - baseline) * weight)
    torch.testing.assert_close(attributed.shares, expected, atol=1e-5, rtol=1e-4)
    figures = infidelity_figures(score, attributed, 0)
    assert figures["infidelity"].value == pytest.approx(0, abs=1e-9)
    assert figures["infidelity_shuffled"].value > 0.3
    ordered, random = deletion(score, attributed, 0)
    # The first deletion takes one input of each patient away: the one that adds most.
    np.testing.assert_allclose(ordered[:, 0], attributed.shares.max(dim=1).values, atol=1e-5)
    assert (ordered[:, 0] >= random[:, 0] - 1e-6).all()


def test_direction_is_the_models_and_needs_no_label():
    values = np.array([[0.0, 1.0, 3.0], [1.0, 2.0, np.nan], [2.0, 0.0, 5.0]])
    weights = np.array([2.0, -1.0, 0.0])
    np.testing.assert_array_equal(directions(values, np.nan_to_num(values) * weights), [1, -1, 0])


def test_what_few_patients_differ_in_is_not_tested():
    rare, common = np.r_[np.ones(4), np.zeros(20)], np.r_[np.ones(5), np.zeros(19)]
    values = np.column_stack([rare, common, np.where(common == 1, np.nan, rare), np.full(24, np.nan)])
    np.testing.assert_array_equal(varied(values, 5), [False, True, False, False])


def test_pathways_are_sums_of_their_members(explained):
    genes = explained("experts")
    sets = {"driver": [DRIVER, "G1", "G2", "absent"], "other": ["G3", "G4"], "small": ["G5"]}
    pathways = sum_pathways(genes, sets, 2, 5)
    assert pathways.sizes == {"driver": 3, "other": 2}
    inside = np.isin(np.array(genes.genes), ["G3", "G4"])
    np.testing.assert_allclose(pathways.shares[:, 1], genes.shares[:, inside].sum(axis=1))
    with pytest.raises(UserError, match="none of 1 sets has 50 of the model's 40 genes"):
        sum_pathways(genes, {"all": GENES}, 50, 5)


def test_pathways_in_which_few_patients_differ_are_left_out(explained):
    genes = explained("experts")
    values = np.zeros(genes.values.shape)
    rare, common = (np.isin(np.array(genes.genes), some) for some in (["G3", "G4"], ["G5", "G6"]))
    values[:2, rare & (np.array(genes.genes) == "G3")] = 1
    values[2:4, rare & (np.array(genes.genes) == "G4")] = 1
    values[:5, common] = 1
    few = replace(genes, values=values)
    sets = {"rare": ["G3", "G4"], "common": ["G5", "G6"]}
    assert sum_pathways(few, sets, 2, 5).sizes == {"common": 2}
    assert sum_pathways(few, sets, 2, 4).sizes == {"rare": 2, "common": 2}
    with pytest.raises(UserError, match=r"^evidence\.smallest: no set of genes differs in 6 patients"):
        sum_pathways(few, sets, 2, 6)


def test_importance_of_what_few_patients_differ_in_is_not_told(trained, explained):
    scored, genes = trained("experts"), explained("experts")
    mutations = np.array(genes.channels) == "mutations"
    carriers = genes.values[:, mutations].sum(axis=0)
    smallest = int(np.median(carriers)) + 1
    page = Attribution(permutations=99, resamples=10, smallest=smallest, parts=["genes"]).run(scored, 0)
    told = page.files["genes"]
    shown = set(told.loc[told["measurement"] == "mutations", "gene"])
    assert shown == {gene for gene, count in zip(GENES, carriers, strict=True) if count >= smallest} and shown


def test_other_runs_must_not_build_on_one_that_saw_the_patients(trained, tmp_path):
    scored = trained("experts")
    shutil.copytree(scored.model, tmp_path / "other")
    ancestor = tmp_path / "ancestor"
    ancestor.mkdir()
    note = note_of(ancestor, scored.patients[:7], [], ["h4"])
    write_json(ancestor / "run.json", {"command": "python -m pretrain", "builds_on": [], "notes": {NOTE: note}})
    digest = hashlib.sha256((ancestor / "run.json").read_bytes()).hexdigest()
    record = json.loads((tmp_path / "other" / "run.json").read_text())
    record["builds_on"] = [{"path": "../ancestor", "digest": digest}]
    write_json(tmp_path / "other" / "run.json", record)
    settings = {"permutations": 99, "resamples": 10, "parts": ["genes"]}
    with pytest.raises(UserError, match=r"^evidence\.others: .*other builds on a run that has seen them: .*ancestor"):
        Attribution(**settings, others=[str(tmp_path / "other")]).run(scored, 0)


def test_a_page_ranks_joins_known_markers_and_hides_small_cells(trained, tmp_path):
    scored = trained("experts")
    (tmp_path / "known.csv").write_text(f"gene,role\n{DRIVER},planted\nG20,wrong\n")
    (tmp_path / "sets.gmt").write_text(f"driver\t\t{DRIVER}\tG1\nrest\t\tG3\tG4\n")
    settings = {"known": str(tmp_path / "known.csv"), "pathways": str(tmp_path / "sets.gmt"), "fewest": 2}
    page = Attribution(**settings, permutations=999, resamples=50, top=5, others=[str(scored.model)]).run(scored, 0)
    best = page.files["genes"].iloc[0]
    assert (best["gene"], best["known"], best["direction"], best["in_top"]) == (DRIVER, "planted", 1, 1.0)
    assert page.files["pathways"].iloc[0]["pathway"] == "driver"
    figures = page.figures
    assert figures["genes/rank_agreement_runs"].value == pytest.approx(1)
    assert figures["genes/deletion_gain"].low > 0
    assert figures["genes/infidelity"].value < 0.01 < figures["genes/infidelity_shuffled"].value
    page.write(tmp_path, {"source": "x", "split": "test", "seed": 0})
    assert {"index.html", "results.json", "genes.csv", "pathways.csv"} <= {path.name for path in tmp_path.iterdir()}
    few = type(scored)(scored.table[scored.table["hospital"] == "h4"].head(8), scored.cohort, scored.run, "test", "")
    tables = " ".join(table for part in Attribution(permutations=99).run(few, 0).sections for table in part["tables"])
    assert "hidden" in tables


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"permutations": 10}, "evidence.permutations: found 10"),
        ({"level": 1.5}, "evidence.level: found 1.5"),
        ({"smallest": 0}, "evidence.smallest: found 0"),
        ({"known": "nowhere.csv"}, "evidence.known: nowhere.csv"),
    ],
)
def test_settings_that_cannot_be_are_one_line(settings, words):
    with pytest.raises(UserError, match=words):
        Attribution(**settings)


def test_patients_whom_the_model_has_seen_are_refused(trained):
    scored = trained("experts")
    learnt = scored.cohort.patients.iloc[:20].assign(score=0.5)
    with pytest.raises(UserError, match="learnt from 14 of the patients"):
        Attribution().run(type(scored)(learnt, scored.cohort, scored.run, "test", ""), 0)
