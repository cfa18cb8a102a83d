"""What a head across hospitals saves of how far its answers can be relied on, held against a head at one place."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from finetune.features import FeatureCache
from finetune.federated.task import Finetuning
from finetune.patients import target_columns
from finetune.predictor import TaskModel
from finetune.reliability.fit import Settings
from finetune.reliability.module import Reliability
from finetune.reliability.steps import fit_after_steps, subset_scores
from finetune.subset_calibration import Settings as Support
from finetune.subset_calibration import fit_subsets
from foundation.errors import UserError
from foundation.federation.runtime.command import federate
from tests.finetune.federated.conftest import SITES, Configure

COMMAND = "python -m finetune.federated"
SHORT = ["rounds=1", "steps_per_round=3", "data.validation_fraction=0.4", "data.modality_dropout=0"]
SHORT += ["reliability={coverage: 0.9, flagged: 0.02}", "calibration={patients: 16, outcome: 2}"]
ALL = "task.modalities=[genomics,report,record]"
TASKS = {
    "classes": ["task=biomarker"],
    "labels": ["task=glioma_markers", "task.head.labels=[biomarker,os_event]", ALL],
    "quantity": ["task=expression", ALL, "task.head.target=os_days", "task.head.unit=days", "+task.head.scale=log"],
    "survival": ["task=survival"],
}


@pytest.fixture
def cohort_of_one_class(small_cohort: Path, tmp_path: Path) -> Path:
    """The small cohort, whose northgate has no genomics, and whose riverside has one class."""
    folder = tmp_path / "one-class"
    shutil.copytree(small_cohort, folder)
    path = folder / "riverside" / "patients.parquet"
    table = pd.read_parquet(path)
    table["biomarker"] = 0.0
    table.to_parquet(path)
    return folder


def at_one_place(cfg, run: Path) -> tuple[TaskModel, Reliability, Callable[[list[str]], Tensor]]:
    """The model of the run; reliability, and scores, of everybody's patients at one place."""
    model, task = TaskModel.load(run), Finetuning(cfg)
    features = FeatureCache(None, TaskModel.load(run).encoder, task.cohort, {})
    raw = subset_scores(model.encoder.double(), model.head.double(), task.validation)
    subsets = model.subsets
    calibrated = raw if subsets is None else lambda names: subsets.double().of_subset(raw(names), names)
    parts = (task.dataset("train"), task.validation)
    return model, fit_after_steps(features, model.head, *parts, calibrated, Settings()), raw


@pytest.mark.parametrize(
    "kind", [*list(TASKS)[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in list(TASKS)[1:])]
)
def test_reliability_of_hospitals_is_that_of_everybody_at_one_place(
    kind: str, configured: Configure, cohort_of_one_class: Path, tmp_path: Path
):
    cfg = configured(*TASKS[kind], *SHORT, f"data.folder={cohort_of_one_class}")
    federate(cfg, COMMAND)
    model, expected, raw = at_one_place(cfg, tmp_path / "run")
    found = model.reliability
    assert found is not None and found.settings() == expected.settings()
    assert found.thresholds.isfinite().any() or kind == "survival"
    assert torch.equal(found.thresholds, expected.thresholds)
    assert (found.limits > 0).any()
    torch.testing.assert_close(found.limits, expected.limits, rtol=1e-4, atol=0)  # features in single precision
    for ours, theirs in zip(found.novelty, expected.novelty, strict=True):
        for name in ("mean", "scale", "variance", "rest", "middle", "below", "above"):
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-4, msg=name)
    if kind in ("classes", "labels"):
        _same_subsets(model, cfg, raw)
    else:
        assert model.subsets is None


def _same_subsets(model: TaskModel, cfg, raw: Callable[[list[str]], Tensor]) -> None:
    task = Finetuning(cfg)
    columns = target_columns(task.cohort, task.validation.patients, model.head)
    targets = {name: torch.from_numpy(column).float() for name, column in columns.items()}
    expected = fit_subsets(
        copy.deepcopy(model.head).float(),
        model.task["modalities"],
        lambda names: raw(names).float(),
        targets,
        Support(16, 2),
    )
    assert expected is not None and model.subsets is not None
    assert model.subsets.fitted == expected.fitted and model.subsets.pooled == expected.pooled
    assert expected.fitted and expected.pooled
    for name in ("scale", "shift"):
        torch.testing.assert_close(
            getattr(model.subsets, name).float(), getattr(expected, name), rtol=0, atol=2e-3, msg=name
        )


def test_answers_come_with_sets_and_abstain(configured: Configure, tmp_path: Path):
    federate(configured(*SHORT), COMMAND)
    model = TaskModel.load(tmp_path / "run")
    task = Finetuning(configured())
    answers = model.predict([task.validation.sample(patient) for patient in task.validation.patients])
    told = [answer["reliability"] for answer in answers]
    assert {one["coverage"] for one in told} == {0.9}
    assert any(one["region"]["classes"] for one in told) and any(one["abstain"] for one in told)
    assert all(
        set(one["out_of_distribution"]) == set(answer["modalities_used"])
        for one, answer in zip(told, answers, strict=True)
    )


@pytest.mark.slow
def test_masked_sums_give_the_reliability_of_open_ones(configured: Configure, tmp_path: Path):
    found = {}
    for name, more in (("masked", ["secure=secagg_plus"]), ("open", [])):
        federate(configured(*SHORT, *more, "task.modalities=[report,record]", f"output={tmp_path / name}"), COMMAND)
        found[name] = load_file(tmp_path / name / "reliability.safetensors")
    for name, value in found["open"].items():
        if "rotation" not in name:  # signs of its vectors are no sum's
            torch.testing.assert_close(found["masked"][name], value, rtol=1e-2, atol=1e-3, msg=name)


def test_policy_that_tells_less_leaves_the_head_without_and_says_so(
    configured: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    home = tmp_path / "run" / "sites" / "lakeview"
    home.mkdir(parents=True)
    (home / "site.yaml").write_text("name: lakeview\npolicy: policy.yaml\n")
    (home / "policy.yaml").write_text("statistics: [targets, temperature]\n")
    federate(configured(*SHORT), COMMAND)
    model = TaskModel.load(tmp_path / "run")
    assert model.reliability is None and model.subsets is None
    why = "lakeview: declined: policy: statistics: 'subsets' is not allowed here"
    assert why in json.loads((tmp_path / "run" / "run.json").read_text())["notes"]["reliability"]["not fitted"]
    assert "nothing beside the head says how far its answers can be relied on" in capsys.readouterr().out


def test_head_without_novelty_asks_for_no_moments_and_one_without_reliability_for_no_sums(
    configured: Configure, tmp_path: Path
):
    asked = {}
    for name, settings in (("sets", ["reliability.flagged=null"]), ("none", ["reliability=null", "calibration=null"])):
        output = tmp_path / name
        federate(configured(*SHORT, *settings, f"output={output}"), COMMAND)
        lines = (output / "ledger.jsonl").read_text().splitlines()
        asked[name] = sum('"statistics"' in line and '"out"' in line for line in lines)
    assert asked["none"] < asked["sets"]
    model = TaskModel.load(tmp_path / "sets")
    assert model.reliability is not None and not model.reliability.limits.any()
    assert TaskModel.load(tmp_path / "none").reliability is None


@pytest.mark.parametrize(
    ("name", "question", "message"),
    [
        ("regions", {"edges": np.zeros((256, 7, 3))}, "regions: asked to count below other than one to 255 numbers"),
        ("regions", {"edges": np.full((1, 7, 3), np.nan)}, "regions: asked to count below other than one to 255"),
        (
            "subset_temperature",
            {"places": np.array([9]), "theta": np.zeros((1, 3))},
            "subsets of modalities that",
        ),
    ],
)
def test_question_beyond_the_model_is_refused(
    configured: Configure, name: str, question: dict, message: str, tmp_path: Path
):
    task = Finetuning(configured(*SHORT, "task.modalities=[genomics,report,record]"), "riverside")
    task.home = tmp_path / "home"
    with pytest.raises(UserError, match=message):
        task.sums(name, {}, question)


def test_site_answers_nothing_that_the_plan_does_not_say(configured: Configure):
    task = Finetuning(configured(), SITES[0])
    with pytest.raises(UserError, match="regions: the run's plan says nothing of reliability"):
        task.sums("regions", {}, {"edges": np.zeros((1, 7, 3))})
