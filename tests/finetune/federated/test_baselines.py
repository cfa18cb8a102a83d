"""Baselines across hospitals are those of everybody at one place, and a model that one beats says so first."""

import json
import shutil
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from sklearn.linear_model import LogisticRegression, Ridge

from finetune.baseline import covariates
from finetune.baselines.comparison import beside
from finetune.experts.responses import Label, Response, Value
from finetune.features import FeatureCache
from finetune.federated.baselines import RIDGE
from finetune.federated.evaluate import evaluate, settle
from finetune.federated.evaluation import Evaluating
from finetune.federated.tables import judged, seen_by
from finetune.figures import figures_of_tables
from finetune.heads.classification import Classification
from finetune.heads.multilabel import MultiLabel
from finetune.heads.regression import Regression
from finetune.patients import target_columns
from finetune.predictor import TaskModel
from finetune.reliability.novelty import Axes
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.statistics.cox import CoxSums
from foundation.statistics.figure import Support
from foundation.statistics.grid import Grid
from foundation.statistics.newton import Newton
from foundation.statistics.weights import poisson_weights
from foundation.tensors import write_tensors
from tests.finetune.federated.conftest import add_causes
from tests.finetune.federated.test_evaluation import HEADS, same, write_model

REST = [pytest.param(name, marks=pytest.mark.slow) for name in ("labels", "quantity", "discrete", "competing")]
TASKS = {**HEADS, "classes": lambda width: Classification(width, "biomarker", ["low", "middle", "high"])}
TRAIN, TEST = ("riverside", "northgate"), ("lakeview", "summit")


@pytest.fixture(scope="module")
def graded(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort with causes, and a biomarker of three levels."""
    folder = tmp_path_factory.mktemp("graded") / "demo"
    shutil.copytree(small_cohort, folder)
    add_causes(folder)
    for path in folder.glob("*/patients.parquet"):
        table = pd.read_parquet(path)
        table["biomarker"] += (np.arange(len(table)) % 3 == 0).astype(float)
        table.to_parquet(path)
    return folder


@pytest.fixture(
    scope="module",
    params=["biomarker", "survival", "classes", *REST],
)
def evaluated(request, build, small_cohort: Path, graded: Path, tmp_path_factory) -> tuple[DictConfig, dict, TaskModel]:
    """An evaluation of an untrained model at two hospitals, with baselines of the two others; one has no genomics."""
    folder = tmp_path_factory.mktemp("baselines")
    run = folder / request.param
    small_cohort = graded if request.param in ("classes", "competing") else small_cohort
    write_model(build, small_cohort, run, TASKS[request.param], request.param, reliable=True)
    give_axes(run, small_cohort)
    record = json.loads((run / "run.json").read_text())
    record["notes"] = {"trained_on": {"hospitals": list(TRAIN), "run": "earlier"}}
    (run / "run.json").write_text(json.dumps(record))
    cfg = configured(run, small_cohort)
    return cfg, evaluate(cfg), TaskModel.load(run)


def give_axes(run: Path, folder: Path) -> None:
    """The axes of all training patients' features, as fine-tuning leaves them."""
    model, cohort = TaskModel.load(run), Cohort(folder, list(TRAIN))
    assert model.reliability is not None
    values = FeatureCache(None, model.encoder, cohort, {}).of(cohort.patients.index.tolist(), model.task["modalities"])
    for place, block in zip(model.reliability.places(), model.reliability.novelty, strict=True):
        part = values[:, place]
        block.take(Axes.of(part[~np.isnan(part).all(axis=1)], 16))
    write_tensors(run / "reliability.safetensors", model.reliability.state_dict())


def configured(run: Path, folder: Path, *more: str) -> DictConfig:
    settings = [f"run={run}", f"data.folder={folder}", "federation=serial", "replicates=20", "part=test", *more]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("evaluate_federated", settings)
    settle(cfg)
    return cfg


def at_one_place(cfg: DictConfig, model: TaskModel, label: str) -> list[np.ndarray]:
    """Coefficients by output: of scikit-learn, of normal equations, or of sums over risk sets (held elsewhere)."""
    task = Evaluating(cfg)
    declared = task.declared(model)
    assert declared is not None
    who = [*task.split.train, *task.split.validation]
    patients = judged(model, task.cohort, who).patients
    design = declared.designs(model, task.cohort, patients, None)[str(declared.labels.index(label))]
    columns = target_columns(task.cohort, patients, model.head)
    return [coefficients(design, response, declared.times) for response in model.head.ranking_responses(columns)]


def coefficients(design: np.ndarray, response: Response, times: Grid) -> np.ndarray:
    rows = np.flatnonzero(response.known & ~np.isnan(design).any(axis=1))
    design, target = design[rows], response.of(rows)
    if isinstance(target, Label):  # the intercept is ridged as all else, so it is a column like any
        plain = LogisticRegression(C=1 / RIDGE, fit_intercept=False, tol=1e-12, max_iter=10_000)
        return plain.fit(design, target.values).coef_[0]
    if isinstance(target, Value):
        return Ridge(RIDGE, fit_intercept=False, solver="cholesky").fit(design, target.values).coef_
    newton = Newton(design.shape[1], ridge=RIDGE)
    while not newton.done:
        newton.update(CoxSums.from_patients(target.event, target.time, design, times, newton.beta).newton())
    return newton.beta[0]


def test_a_baseline_and_the_models_gain_over_it_are_those_of_one_place(evaluated):
    cfg, result, model = evaluated
    task = Evaluating(cfg)
    declared = task.declared(model)
    assert list(result["baselines"]) == declared.labels
    assert {"age and sex", "ridge on record", "ridge on genomics.expression"} <= set(declared.labels)
    statistics = model.head.statistics().ranking()
    seen = seen_by(model, task.cohort, task.split.test, model.task["modalities"])
    designs = declared.designs(model, task.cohort, seen.patients, None)
    for place, label in enumerate(declared.labels):
        design = designs[str(place)]
        rows = ~np.isnan(design).any(axis=1)
        theirs = ranked(model, [design[rows] @ beta for beta in at_one_place(cfg, model, label)])
        part = seen.only(rows)
        weights = poisson_weights(part.patients, cfg.replicates, f"evaluation {cfg.seed}")
        tables = [
            statistics.tables(part.targets, estimates, part.hospitals, weights)
            for estimates in (part.estimates, theirs)
        ]
        ours, plain = (figures_of_tables(statistics, table, Support()) for table in tables)
        measure = ours.measures[statistics.primary]
        expected = beside(ours, plain, statistics.primary, {"n": measure.n, **measure.outcomes})
        same(result["baselines"][label], json.loads(json.dumps(expected)))


def ranked(model: TaskModel, linear: list[np.ndarray]) -> np.ndarray:
    """Estimates of linear predictors, one an output of the task."""
    if isinstance(model.head, Regression):
        return linear[0] * model.head.moments.spread + model.head.moments.mean
    if isinstance(model.head, Classification | MultiLabel):
        linear = [1 / (1 + np.exp(-eta)) for eta in linear]
    return linear[0] if len(linear) == 1 else np.stack(linear, axis=1)


def test_a_model_that_a_baseline_beats_says_so_in_the_first_line(evaluated):
    cfg, result, model = evaluated
    name = model.head.statistics().primary
    page = (Path(cfg.output) / "evaluation.md").read_text()
    gains = [row["gain"][name]["value"] for row in result["baselines"].values()]
    assert page.startswith("**Beaten by a baseline: ") == any(gain is not None and gain < 0 for gain in gains)
    assert "| baseline: age and sex |" in page and "| gain over age and sex |" in page


def test_policy_that_tells_no_regression_leaves_the_evaluation_without_and_says_so(evaluated, tmp_path: Path):
    cfg, result, _ = evaluated
    home = tmp_path / "sites" / "riverside"
    home.mkdir(parents=True)
    (home / "site.yaml").write_text("name: riverside\npolicy: policy.yaml\n")
    (home / "policy.yaml").write_text("statistics: [tables, model]\n")
    found = evaluate(configured(Path(cfg.run), Path(cfg.data.folder), f"output={tmp_path}"))
    assert "riverside: declined: policy: statistics: 'baselines' is not allowed here" in found["no_baselines"]
    assert "baselines" not in found and found["overall"] == result["overall"]
    assert "No baseline stands beside it" in (tmp_path / "evaluation.md").read_text()


def test_a_misspelt_modality_is_refused_before_a_site_is_asked(evaluated, tmp_path: Path):
    cfg, _, _ = evaluated
    asked = configured(Path(cfg.run), Path(cfg.data.folder), f"output={tmp_path}", "baselines=[record,recrod]")
    with pytest.raises(UserError, match=r"^baselines: 'recrod' is no modality; name some of genomics, .*record"):
        evaluate(asked)
    assert not (tmp_path / "exchange").exists()


def test_covariates_of_who_has_no_age_are_those_of_sixty(small_cohort: Path):
    cohort = Cohort(small_cohort, ["summit"])
    patients = cohort.patients.index.tolist()
    table = covariates(cohort, patients, 60.0)
    assert np.isfinite(table.to_numpy()).all()
    assert torch.tensor(table["age"].to_numpy()).abs().max() < 6
