"""Thresholds and limits of patients made by hand, and what is said of an answer."""

import json

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator

from finetune.heads.classification import Classification
from finetune.heads.multilabel import MultiLabel
from finetune.heads.regression import Regression
from finetune.heads.survival import Survival
from finetune.reliability.fit import Patients, Settings, fit_reliability
from finetune.reliability.module import Reading, Reliability
from finetune.reliability.quantiles import conformal_rank
from foundation.errors import UserError

MODALITIES = ["image", "genes"]
BLOCKS = [["image", "image.a", 6], ["image", "image.b", 4], ["genes", "genes", 8]]
PATIENTS = 300


def behind(head, targets: dict[str, torch.Tensor], scores: torch.Tensor, lacking: int = 60) -> Patients:
    """Of whom the first lack genes."""
    features = np.random.default_rng(0).normal(size=(PATIENTS, 18))
    features[:lacking, 10:] = np.nan

    def of_subset(names: list[str]) -> torch.Tensor:
        shown = scores.clone()
        if "genes" in names:
            shown[:lacking] = torch.nan
        return shown if len(names) > 1 else shown / 2  # each alone knows less

    return Patients(
        features, [f"h{index % 5}" for index in range(PATIENTS)], np.ones(PATIENTS, dtype=bool), targets, of_subset
    )


def classes(seed: int, count: int = PATIENTS) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = (torch.rand(count, generator=generator) < 0.3).float()
    logit = 1.0 * (2 * label - 1) + torch.randn(count, generator=generator)
    return label, torch.stack([torch.zeros(count), logit], dim=1)


@pytest.fixture(scope="module")
def head() -> Classification:
    return Classification(4, "y", ["wild", "mutant"]).eval()


@pytest.fixture(scope="module")
def fitted(head) -> Reliability:
    label, scores = classes(0)
    return fit_reliability(head.regions(), MODALITIES, BLOCKS, behind(head, {"y": label}, scores), Settings())


def reading(scores: torch.Tensor, present: list[bool], features: torch.Tensor | None = None) -> Reading:
    usual = torch.from_numpy(np.random.default_rng(0).normal(size=(PATIENTS, 18))[100 : 100 + len(scores)]).float()
    return Reading(scores, torch.tensor([present] * len(scores)), usual if features is None else features)


def test_sets_of_further_patients_hold_each_class_as_often_as_stated(head, fitted):
    label, scores = classes(1, 20_000)
    regions = head.regions()
    inside = regions.nonconformity(scores, {"y": label}) <= fitted.thresholds_of(torch.tensor([[True, True]]))
    for place in (0, 1):  # of 72 and 168 patients who have both: within three standard errors of such a quantile
        share = inside[label == place, place].float().mean().item()
        assert share == pytest.approx(0.9, abs=3 * np.sqrt(0.09 / (72, 168)[1 - place]))
    assert not fitted.thresholds[0b01].equal(fitted.thresholds[0b11])


def test_the_threshold_is_the_rank_of_the_true_classes_nonconformities(head, fitted):
    label, scores = classes(0)
    wrong = (1 - scores.softmax(dim=1))[60:].numpy()
    for place in (0, 1):
        values = np.sort(wrong[label[60:].numpy() == place, place])
        rank = int(np.ceil((len(values) + 1) * 0.9))
        assert fitted.thresholds[0b11, place].item() == values[rank - 1]


def test_a_class_of_few_patients_takes_the_threshold_of_all_and_nobody_gives_none(head):
    label, scores = classes(0)
    few = torch.where((label == 1) & (torch.arange(PATIENTS) > 70), torch.nan, label)
    assert 0 < (few[60:] == 1).sum() < 9
    module = fit_reliability(head.regions(), MODALITIES, BLOCKS, behind(head, {"y": few}, scores), Settings())
    pooled = torch.where(few == 1, 1 - scores.softmax(dim=1)[:, 1], 1 - scores.softmax(dim=1)[:, 0])
    pooled = pooled[60:][~few[60:].isnan()].sort().values
    rank = int(np.ceil((len(pooled) + 1) * 0.9))
    assert module.thresholds[0b11, 1] == pooled[rank - 1]
    nobody = fit_reliability(
        head.regions(), MODALITIES, BLOCKS, behind(head, {"y": label}, scores, lacking=PATIENTS), Settings()
    )
    assert nobody.thresholds[0b10].isinf().all() and nobody.thresholds[0b01].isfinite().all()
    assert (nobody.limits == 0).tolist() == [False, True]


def test_an_answer_abstains_where_the_set_is_open_or_an_input_is_like_no_patients(head, fitted):
    sure, open_one = (torch.tensor([[0.0, logit]]) for logit in (4.0, 0.0))
    plain = fitted.judge(reading(sure, [True, True]), head.regions())[0]
    assert plain["region"] == {"classes": ["mutant"]}
    assert plain["abstain"] is False and plain["reasons"] == []
    assert all(0 <= score < 1 for score in plain["out_of_distribution"].values())
    torn = fitted.judge(reading(open_one, [True, True]), head.regions())[0]
    assert torn["abstain"] and torn["reasons"] == ["at 90% coverage the set holds wild and mutant"]
    strange = fitted.judge(reading(sure, [True, True], torch.full((1, 18), 50.0)), head.regions())[0]
    assert [reason.split(" is unlike")[0] for reason in strange["reasons"]] == MODALITIES
    alone = fitted.judge(reading(sure, [True, False]), head.regions())[0]
    assert list(alone["out_of_distribution"]) == ["image"]


@pytest.mark.parametrize(("coverage", "least"), [(0.9, 9), (0.8, 4), (0.95, 19)])
def test_an_answer_says_where_too_few_patients_tell_instead_of_an_open_set(head, coverage, least):
    """Order statistics of n patients bound what a further one exceeds with 1 - coverage from n on, and not before."""
    assert conformal_rank(np.array(least), coverage) <= least
    assert conformal_rank(np.array(least - 1), coverage) > least - 1
    module = Reliability(MODALITIES, BLOCKS, 2, coverage).eval()  # fitted on nobody: nothing bounds a set
    said = module.judge(reading(torch.tensor([[0.0, 4.0]]), [True, True]), head.regions())[0]
    assert said["abstain"] and said["region"] == {"classes": ["wild", "mutant"]}
    assert said["reasons"] == [
        f"at {coverage:.0%} coverage too few patients tell: fewer than {least} with these modalities whom the fit had "
        "not seen"
    ]


def test_few_of_the_patients_like_those_learnt_from_are_flagged(fitted):
    usual = torch.from_numpy(np.random.default_rng(9).normal(size=(5000, 18))).float()
    present = torch.ones(5000, 2, dtype=torch.bool)
    assert (fitted.novelty_of(usual, present) > 1).any(dim=1).float().mean() < 0.04


def test_a_block_that_nobody_of_a_batch_has_changes_no_score(fitted):
    """Blocks that nobody has are not looked at."""
    features = torch.from_numpy(np.random.default_rng(9).normal(size=(8, 18))).float()
    features[:4, 6:10] = features[:6, 10:] = torch.nan  # image.b of the first four, genes of the first six
    together = fitted.raw_novelty(features)
    assert together.isnan().tolist() == [[False, True]] * 6 + [[False, False]] * 2
    parts = torch.cat([fitted.raw_novelty(features[rows]) for rows in (slice(4), slice(4, 6), slice(6, 8))])
    torch.testing.assert_close(parts, together, equal_nan=True)
    assert fitted.raw_novelty(torch.full((2, 18), torch.nan)).isnan().all()


def test_what_is_saved_judges_the_same_and_keeps_to_its_schema(head, fitted):
    again = Reliability(**json.loads(json.dumps(fitted.settings()))).eval()
    again.load_state_dict(fitted.state_dict())
    one = reading(torch.tensor([[0.0, 0.4]]), [True, False])
    said = fitted.judge(one, head.regions())[0]
    assert again.judge(one, head.regions())[0] == said
    validator = Draft202012Validator(fitted.schema(head.regions()))
    validator.validate(said)
    assert not validator.is_valid(said | {"coverage": 0.5})


def test_an_interval_is_the_threshold_to_either_side_in_the_quantitys_unit():
    head = Regression(4, "y", "mg/l", moments=[100.0, 500.0, 2900.0]).eval()  # mean 5, spread 2
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(PATIENTS, 1, generator=generator)
    truth = 5 + 2 * (scores[:, 0] + torch.randn(PATIENTS, generator=generator))
    module = fit_reliability(head.regions(), MODALITIES, BLOCKS, behind(head, {"y": truth}, scores), Settings(0.8))
    reach = module.thresholds[0b11, 0].item()
    assert reach == np.sort(((truth - 5) / 2 - scores[:, 0]).abs()[60:].numpy())[int(np.ceil(241 * 0.8)) - 1]
    said = module.judge(reading(torch.zeros(1, 1), [True, True]), head.regions())[0]
    assert said["region"] == pytest.approx({"low": 5 - 2 * reach, "high": 5 + 2 * reach}, rel=1e-5)
    unbounded = module.judge(reading(torch.zeros(1, 1), [False, False]), head.regions())[0]
    assert unbounded["region"] == {"low": None, "high": None} and unbounded["abstain"]
    Draft202012Validator(module.schema(head.regions())).validate(unbounded)


def test_each_label_has_sets_of_its_own_and_unknown_ones_count_nothing():
    head = MultiLabel(4, ["a", "b"]).eval()
    label, scores = classes(0)
    both = torch.stack([scores[:, 1], scores[:, 1]], dim=1)
    unknown = torch.where(torch.arange(PATIENTS) % 2 == 0, torch.nan, label)
    targets = {"a": label, "b": unknown}
    module = fit_reliability(head.regions(), MODALITIES, BLOCKS, behind(head, targets, both), Settings())
    known = ~unknown[60:].isnan()
    absent = np.sort(both[60:, 1].sigmoid()[known & (label[60:] == 0)].numpy())
    assert module.thresholds[0b11, 2].item() == absent[int(np.ceil((len(absent) + 1) * 0.9)) - 1]
    said = module.judge(reading(torch.tensor([[4.0, 0.0]]), [True, True]), head.regions())[0]
    assert said["region"]["labels"]["a"] == ["present"]
    assert said["region"]["labels"]["b"] == ["absent", "present"]
    assert said["reasons"] == ["at 90% coverage the sets leave open b"]
    Draft202012Validator(module.schema(head.regions())).validate(said)


def test_survival_has_scores_but_no_region():
    head = Survival(4)
    targets = {"os_event": torch.ones(PATIENTS), "os_days": torch.ones(PATIENTS)}
    module = fit_reliability(
        head.regions(), MODALITIES, BLOCKS, behind(head, targets, torch.zeros(PATIENTS, 1)), Settings()
    )
    said = module.judge(reading(torch.zeros(1, 1), [True, True]), head.regions())[0]
    assert said["region"] is None and not said["abstain"]
    Draft202012Validator(module.schema(None)).validate(said)


@pytest.mark.parametrize("wrong", [{"coverage": 1.0}, {"flagged": 0.0}])
def test_a_share_that_is_none_is_one_line(wrong):
    with pytest.raises(UserError, match=r"reliability\.\w+: found [01]\.0; give a share between 0 and 1"):
        Settings(**wrong)
