"""Heads of quantities, intervals and causes across hospitals: what counts tell them, and how they are calibrated."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.federated.features import targets_of
from finetune.federated.task import Finetuning
from finetune.predictor import TaskModel
from foundation.errors import UserError
from foundation.federation.runtime.command import federate
from tests.finetune.federated.conftest import Configure, add_causes

COMMAND = "python -m finetune.federated"
TASKS = {
    "regression": ["task=expression", "task.head.target=os_days", "task.head.unit=days", "+task.head.scale=log"],
    "discrete": ["task=survival_discrete"],
    "competing": ["task=competing_risks"],
}


@pytest.fixture(scope="module")
def with_causes(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causes") / "demo"
    shutil.copytree(small_cohort, folder)
    add_causes(folder)
    return folder


@pytest.mark.parametrize("asked", [2, -1, 1.5])
def test_a_site_tells_the_risk_of_no_cause_that_there_is_not(configured: Configure, with_causes: Path, asked: float):
    task = Finetuning(configured(f"data.folder={with_causes}", *TASKS["competing"], "task.modalities=[record]"))
    with pytest.raises(UserError, match="risks: asked for the risk of another event than the 2 that the head knows"):
        task.sums("risks", {}, {"edges": np.zeros(1), "output": np.array([asked])})


@pytest.mark.parametrize("kind", TASKS)
def test_a_head_of_hospitals_is_calibrated_as_one_of_all_their_patients(
    kind: str, configured: Configure, with_causes: Path, tmp_path: Path
):
    settings = ["task.modalities=[report,record]", "rounds=1", "steps_per_round=3", "data.validation_fraction=0.3"]
    cfg = configured(f"data.folder={with_causes}", *TASKS[kind], *settings)
    federate(cfg, COMMAND)
    model, task = TaskModel.load(tmp_path / "run"), Finetuning(cfg)
    everybody = {name: column.numpy() for name, column in targets_of(task.dataset("train")).items()}
    if kind == "regression":
        days = np.log1p(everybody["os_days"].astype(np.float64))
        assert model.head.moments.mean == pytest.approx(days.mean(), rel=1e-6)
        assert model.head.moments.spread == pytest.approx(days.std(), rel=1e-6)
        assert model.head.settings()["moments"] == pytest.approx(list(model.head.moments))
    with torch.no_grad():
        seen, learnt = (
            model.scores([part.sample(patient) for patient in part.patients]) for part in (task.validation, task.learnt)
        )
    fitted = {name: value.clone() for name, value in model.head.named_buffers()}
    for name in ("log_scale", "shift"):
        if name in fitted:
            getattr(model.head, name).zero_()
    targets = targets_of(task.validation)
    model.head.calibrate(seen, targets, (seen[:0], {name: column[:0] for name, column in targets.items()}))
    for name, value in model.head.named_buffers():
        if name != "cuts":
            torch.testing.assert_close(fitted[name], value, atol=1e-3, rtol=0, msg=name)
    if "cuts" in fitted:
        for name in ("log_scale", "shift"):
            getattr(model.head, name).copy_(fitted[name])
        estimates = model.head.estimate(learnt).double().numpy()
        risks = model.head.statistics().risks(estimates) if kind == "competing" else [model.head.risk(estimates)]
        cuts = np.stack([np.quantile(risk, [1 / 3, 2 / 3]) for risk in risks])
        np.testing.assert_allclose(fitted["cuts"].numpy().reshape(cuts.shape), cuts, atol=1e-5)
