"""Calibration by subset of modalities: what is fitted, what stays pooled and why, and where it is used."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional

from finetune.evaluation import Evaluator
from finetune.fit import save
from finetune.heads.classification import Classification
from finetune.heads.competing import CompetingRisks
from finetune.heads.multilabel import MultiLabel
from finetune.heads.survival import Survival
from finetune.module import FinetuneModule
from finetune.predictor import TaskModel
from finetune.subset_calibration import Settings, SubsetCalibration, fit_subsets
from foundation.errors import UserError

MODALITIES = ["image", "genes"]
COUNT = 400


def patients(seed: int, sure: float = 5.0, lacking: int = 100):
    """Scores of two classes: right from both modalities, `sure` times too sure from the image; the first lack genes."""
    generator = torch.Generator().manual_seed(seed)
    logit = torch.randn(COUNT, generator=generator)
    label = (torch.rand(COUNT, generator=generator) < logit.sigmoid()).float()

    def scores(names: list[str]) -> torch.Tensor:
        shown = torch.stack([torch.zeros(COUNT), logit if len(names) > 1 else sure * logit], dim=1)
        if "genes" in names:
            shown[:lacking] = torch.nan
        return shown

    return scores, {"y": label}


def calibrated(head, scores, targets):
    raw = scores(MODALITIES)
    there = ~raw.isnan().any(dim=1)
    known = {name: column[there] for name, column in targets.items()}
    head.calibrate(raw[there], known, (raw[:0], {name: column[:0] for name, column in targets.items()}))
    return head.eval()


@pytest.fixture
def head() -> Classification:
    return Classification(4, "y", ["wild", "mutant"])


def test_a_subset_that_is_too_sure_is_made_as_sure_as_it_is_right(head):
    scores, targets = patients(0)
    calibrated(head, scores, targets)
    subsets = fit_subsets(head, MODALITIES, scores, targets, Settings())
    unseen, label = patients(1)
    raw = unseen(["image"])

    def loss(values: torch.Tensor) -> float:
        return functional.binary_cross_entropy(head.estimate(values), label["y"]).item()

    best = loss(raw / 5)
    assert loss(raw) > best + 0.5
    assert loss(subsets.of_subset(raw, ["image"])) == pytest.approx(best, abs=0.02)
    both = unseen(MODALITIES)[100:]
    assert torch.allclose(head.estimate(subsets.of_subset(both, MODALITIES)), head.estimate(both), atol=0.03)


def test_one_fit_on_a_subset_alone_is_the_heads_own_calibration_of_what_it_pooled(head):
    scores, targets = patients(0)
    calibrated(head, scores, targets)
    subsets = fit_subsets(head, MODALITIES, scores, targets, Settings())
    raw = scores(["image"])
    pooled = raw * head.log_scale.exp() + head.shift
    again = Classification(4, "y", ["wild", "mutant"])
    again.calibrate(pooled, targets, (raw[:0], {"y": targets["y"][:0]}))
    torch.testing.assert_close(head.estimate(subsets.of_subset(raw, ["image"])), again.estimate(pooled))


def test_too_few_patients_or_too_few_of_an_outcome_keep_the_pooled_temperature_and_say_so(head):
    scores, targets = patients(0, lacking=370)
    targets["y"][370:] = 0
    targets["y"][370:375] = 1
    calibrated(head, scores, targets)
    subsets = fit_subsets(head, MODALITIES, scores, targets, Settings(patients=31, outcome=5))
    assert subsets.words(["genes", "image"]) == "pooled (30 validation patients with these, of 31 that it takes)"
    assert subsets.words(["image"]) == "400 validation patients with these"
    assert subsets.words(["report"]) == "pooled (not looked at)"
    raw = scores(MODALITIES)[370:]
    assert torch.equal(subsets.of_subset(raw, MODALITIES), raw)
    rare = fit_subsets(head, MODALITIES, scores, targets, Settings(patients=10, outcome=6))
    assert rare.words(MODALITIES) == "pooled (5 validation patients of an outcome, of 6 that it takes)"


def test_each_patient_is_calibrated_by_what_they_have(head):
    scores, targets = patients(0)
    calibrated(head, scores, targets)
    subsets = fit_subsets(head, MODALITIES, scores, targets, Settings())
    raw = torch.tensor([[0.0, 3.0], [0.0, 3.0], [0.0, 3.0]])
    present = torch.tensor([[True, False], [True, True], [False, True]])
    mixed = subsets(raw, present)
    for row, names in enumerate((["image"], MODALITIES, ["genes"])):
        torch.testing.assert_close(mixed[row : row + 1], subsets.of_subset(raw[row : row + 1], names))


def test_labels_and_causes_have_scales_and_shifts_of_their_own():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(COUNT, 2, generator=generator)
    labels = (torch.rand(COUNT, 2, generator=generator) < raw.sigmoid()).float()
    head = MultiLabel(4, ["a", "b"])
    factor = torch.tensor([4.0, 1.0])
    subsets = fit_subsets(
        head,
        MODALITIES,
        lambda names: raw * factor if len(names) < 2 else raw,
        {"a": labels[:, 0], "b": labels[:, 1]},
        Settings(),
    )
    scale = subsets.scale[1]
    assert scale[0] < 0.4 and scale[1] == pytest.approx(1, abs=0.2)
    risks = CompetingRisks(4, ["x", "y"], edges=[100, 200, 400], horizons=[300])
    risks.shift.copy_(torch.tensor([0.2, -0.4]))
    causes = {"cause": torch.arange(COUNT).float() % 3, "os_days": torch.arange(COUNT).float() + 1}
    outputs = torch.randn(COUNT, 6, generator=generator)
    fitted = fit_subsets(risks, MODALITIES, lambda names: outputs, causes, Settings())
    logits = (fitted.of_subset(outputs, ["image"]).reshape(-1, 2, 3) + risks.shift[:, None]).flatten(1)
    assert risks.loss(logits, causes) < risks.loss(
        (outputs.reshape(-1, 2, 3) + risks.shift[:, None]).flatten(1), causes
    )


def test_heads_without_a_temperature_and_tasks_of_one_modality_have_none(head):
    scores, targets = patients(0)
    assert fit_subsets(head, ["image"], scores, targets, Settings()) is None
    assert fit_subsets(Survival(4), MODALITIES, scores, targets, Settings()) is None


@pytest.mark.parametrize("settings", [{"patients": 0}, {"outcome": 2.5}, {"patients": True}])
def test_supports_that_are_no_counts_are_refused(settings):
    with pytest.raises(UserError, match="give a count from 1 on"):
        Settings(**settings)


def test_a_saved_model_answers_and_is_evaluated_by_subset(build, cohort, tmp_path):
    model = build()
    names = model.task["modalities"]
    subsets = SubsetCalibration(names, 2, [{"modalities": ["report"], "patients": 77}], [])
    subsets.shift[2] = torch.tensor([0.0, 4.0])  # a report alone
    module = FinetuneModule(model.encoder, model.head)
    module.subsets = subsets
    save(module, OmegaConf.create({"name": "biomarker", "drop_inputs": {}}), names, tmp_path)
    again = TaskModel.load(tmp_path)
    patient = next(name for name in cohort.patients.index if set(cohort.sample(name)) >= set(names))
    sample = cohort.sample(patient)
    for shown, raised in (({"report": sample["report"]}, 4.0), (sample, 0.0)):
        plain, shifted = model.scores([shown])[0], again.scores([shown])[0]
        torch.testing.assert_close(shifted, plain + torch.tensor([0.0, raised]))
        batch = again.encoder.encode_samples([again.usable(shown)])
        torch.testing.assert_close(again.read(batch).scores[0], shifted)
    everybody = cohort.patients.index.tolist()
    evaluator = Evaluator(again, cohort, everybody[::2], everybody[1::2], resamples=0)
    words = evaluator.calibration()
    assert words["report alone"] == "77 validation patients with these"
    assert words["all but report"] == "pooled (not looked at)"
    assert evaluator.results()["calibration"] == words
    alone, raised = evaluator.estimates([patient], ["report"]), again.scores([{"report": sample["report"]}])
    np.testing.assert_allclose(alone, again.head.estimate(raised).numpy(), rtol=1e-5)


def test_a_file_of_other_modalities_is_refused(build, tmp_path):
    model = build()
    module = FinetuneModule(model.encoder, model.head)
    module.subsets = SubsetCalibration(model.task["modalities"], 2)
    save(module, OmegaConf.create({"name": "biomarker", "drop_inputs": {}}), model.task["modalities"], tmp_path)
    content = json.loads((tmp_path / "task.json").read_text())
    content["subsets"]["modalities"] = ["record", "report", "genomics"]
    (tmp_path / "task.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"subsets\.modalities are not the task's"):
        TaskModel.load(tmp_path)
