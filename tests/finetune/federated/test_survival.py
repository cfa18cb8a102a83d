"""Survival across hospitals by sums: the task model that comes of it, and who may ask for what."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from safetensors.torch import load_file
from torch import nn

from finetune.federated.answers import answer
from finetune.federated.features import embeddings, targets_of
from finetune.federated.task import Finetuning
from finetune.predictor import TaskModel
from foundation.errors import UserError
from foundation.federation.runtime.command import federate
from tests.finetune.federated.conftest import SITES, Configure

COMMAND = "python -m finetune.federated"
SURVIVAL = ("task=survival", "rounds=1", "steps_per_round=15")


def test_newton_over_hospitals_is_lifelines_on_everybody(configured: Configure, tmp_path: Path):
    cfg = configured(*SURVIVAL, "cox={method: newton, days: 1, ridge: 8}")
    federate(cfg, COMMAND)
    output = tmp_path / "run"
    task = Finetuning(cfg)
    module, part = task.build(), task.dataset("train")
    *body, _ = module.head.score.eval()
    with torch.no_grad():
        x = nn.Sequential(*body)(embeddings(module, part, None)).double().numpy()
    columns = [f"x{place}" for place in range(x.shape[1])]
    spread = x.std(axis=0, ddof=1)
    # lifelines penalises coefficients of columns in units of their spread, ours those of the columns as they are.
    table = pd.DataFrame(x / spread, columns=columns)
    targets = targets_of(part)
    event, time = (targets[name].double().numpy() for name in ("os_event", "os_days"))
    oracle = CoxPHFitter(penalizer=(8 / len(part) / spread**2), l1_ratio=0.0)
    oracle.fit(table.assign(event=event, time=time), "time", "event", fit_options={"precision": 1e-12})
    learnt = load_file(output / "head.safetensors")["score.2.weight"][0].double().numpy()
    np.testing.assert_allclose(learnt, oracle.params_.to_numpy() / spread, atol=1e-6)
    history = json.loads((output / "history.json").read_text())["rounds"]
    assert set(history[0]["training"]) == set(SITES)


@pytest.mark.parametrize(
    "cox",
    [
        "{method: gradient}",
        *(pytest.param(cox, marks=pytest.mark.slow) for cox in ("null", "{method: stratified}", "{method: newton}")),
    ],
)
def test_survival_becomes_a_task_model_by_updates_and_by_sums(configured: Configure, tmp_path: Path, cox: str):
    federate(configured("task=survival", "steps_per_round=3", f"cox={cox}"), COMMAND)
    model = TaskModel.load(tmp_path / "run")
    assert torch.equal(model.head.cuts, model.head.cuts.sort().values)
    assert (model.head.baseline_hazard.diff() >= 0).all() and model.head.baseline_hazard[0] > 0
    answer = model.head.predict(torch.zeros(1, 1))[0]
    assert 0 < answer["survival"]["1825_days"] < answer["survival"]["365_days"] < 1


def test_risk_groups_are_thirds_of_all_patients(configured: Configure, tmp_path: Path):
    cfg = configured("task=survival", "steps_per_round=3")
    federate(cfg, COMMAND)
    model, task = TaskModel.load(tmp_path / "run"), Finetuning(cfg)
    risk = model.scores([task.learnt.sample(patient) for patient in task.learnt.patients]).squeeze(1)
    torch.testing.assert_close(model.head.cuts, risk.quantile(torch.tensor([1 / 3, 2 / 3])), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "edges",
    [np.zeros(4 * 2048 + 1), np.zeros((2, 2)), np.zeros(0), np.array([np.nan]), np.zeros(2, np.int64), None],
)
def test_a_hospital_counts_below_no_more_values_than_quantiles_take(configured: Configure, edges: np.ndarray | None):
    task = Finetuning(configured("task=survival"), "riverside")
    weights = {name: value.numpy() for name, value in task.build().state_dict().items()}
    assert answer(task, "risks", weights, {"edges": np.array([-np.inf, np.inf])}).arrays["patients"][0] == 0
    with pytest.raises(UserError, match=r"^risks: asked to count below other than one to 8192 numbers"):
        answer(task, "risks", weights, {} if edges is None else {"edges": edges})


def test_stratified_hospitals_send_no_risk_set(configured: Configure, tmp_path: Path):
    for site in SITES:
        home = tmp_path / "run" / "sites" / site
        home.mkdir(parents=True)
        (home / "site.yaml").write_text(f"name: {site}\npolicy: policy.yaml\n")
        (home / "policy.yaml").write_text("statistics: [targets, stratum, baseline, risks]\n")
    federate(configured(*SURVIVAL, "cox={method: stratified}"), COMMAND)
    with pytest.raises(UserError, match=r"policy: statistics: 'risk_moments' is not allowed here; allowed: targets"):
        federate(configured(*SURVIVAL, "cox={method: newton}", "overwrite=true"), COMMAND)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("cox={method: newtn}",), r"^cox: method: Input should be 'newton', 'gradient' or 'stratified'"),
        (("cox={method: newton, month: 3}",), r"^cox: month: not known to this release's plans"),
        (("cox={method: newton}", "frozen=false"), r"^cox\.method: newton learns the last layer alone"),
        (("cox={method: newton}", "task=biomarker"), r"^cox: the task 'biomarker' is not survival; drop cox"),
    ],
)
def test_settings_of_cox_are_held_to_account(configured: Configure, settings: tuple[str, ...], reason: str):
    with pytest.raises(UserError, match=reason):
        federate(configured("task=survival", *settings), COMMAND)
