"""Evaluation across hospitals is that of everybody in one place, whatever a hospital lacks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig

from finetune.federated.evaluate import evaluate, settle
from finetune.federated.evaluation import TABLES, Evaluating
from finetune.federated.figures import figures, reliability
from finetune.federated.parcel import of_question, packed, to_question, unpacked
from finetune.federated.tables import seen_by, seen_through, tables_of
from finetune.fit import save
from finetune.heads.base import Head
from finetune.heads.classification import Classification
from finetune.heads.competing import CompetingRisks
from finetune.heads.discrete import DiscreteHazards
from finetune.heads.multilabel import MultiLabel
from finetune.heads.regression import Regression
from finetune.heads.survival import Survival
from finetune.module import FinetuneModule
from finetune.predictor import TaskModel
from finetune.reliability.module import Reliability
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.run_record import RunRecord
from foundation.statistics.figure import Support
from tests.finetune.federated.conftest import add_causes

SITES = ("riverside", "northgate", "lakeview", "summit")
Evaluate = Callable[..., tuple[DictConfig, dict]]
HEADS = {
    "biomarker": lambda width: Classification(width, "biomarker"),
    "labels": lambda width: MultiLabel(width, ["biomarker", "os_event"]),
    "survival": lambda width: Survival(width),
    "discrete": lambda width: DiscreteHazards(width),
    "competing": lambda width: CompetingRisks(width, ["disease", "other"]),
    "quantity": lambda width: Regression(width, "os_days", "days", moments=[3.0, 3600.0, 5e6]),
}


@pytest.fixture(scope="module")
def uneven(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort with a hospital of one class (lakeview) and one that saw no event (riverside).

    northgate has no genomics as it is.
    """
    folder = tmp_path_factory.mktemp("uneven") / "demo"
    shutil.copytree(small_cohort, folder)
    for hospital, column, value in (("lakeview", "biomarker", 1.0), ("riverside", "os_event", 0.0)):
        table = pd.read_parquet(folder / hospital / "patients.parquet")
        table[column] = value
        table.to_parquet(folder / hospital / "patients.parquet")
    add_causes(folder)
    return folder


@pytest.fixture
def evaluated(build, uneven: Path, tmp_path: Path) -> Evaluate:
    """Evaluates an untrained task model over all patients of all hospitals, in this process."""

    def run(task: str, *overrides: str) -> tuple[DictConfig, dict]:
        model = tmp_path / task
        if not model.is_dir():
            write_model(build, uneven, model, HEADS[task], task)
        settings = [f"run={model}", f"data.folder={uneven}", "federation=serial", "replicates=20"]
        settings += ["hospital_replicates=50", "part=train", "data.validation_fraction=0.0", *overrides]
        with hydra.initialize_config_module("configs", version_base="1.3"):
            cfg = hydra.compose("evaluate_federated", settings)
        settle(cfg)
        return cfg, evaluate(cfg)

    return run


def write_model(
    build, cohort: Path, folder: Path, head: Callable[[int], Head], name: str, reliable: bool = False
) -> None:
    """A task model as `python -m finetune` leaves one, with a split that trains on everybody."""
    torch.manual_seed(1)
    encoder = build().encoder
    made = head(encoder.width)
    torch.nn.init.normal_(made.score[-1].weight, std=0.3)
    if isinstance(made, Survival):
        made.baseline_days.copy_(torch.linspace(1, 3000, len(made.baseline_days)))
        made.baseline_hazard.copy_(torch.linspace(0.01, 1.5, len(made.baseline_hazard)))
        made.cuts.copy_(torch.tensor([-0.2, 0.2]))
    task = DictConfig({"name": name, "drop_inputs": {}})
    module, names = FinetuneModule(encoder, made), list(encoder.modalities)
    if reliable:
        blocks = [[name, block, size] for name in names for block, size in encoder.feature_sizes([name]).items()]
        regions = made.regions()
        alternatives = 0 if regions is None else regions.alternatives
        module.reliability = Reliability(names, blocks, alternatives, coverage=0.8)
        module.reliability.thresholds.fill_(0.55)
    save(module, task, names, folder)
    data = {"test_hospitals": [], "folds": 0, "fold": 0, "stratify": None, "split_file": None}
    data |= {"validation_fraction": 0.0, "split_seed": 0}
    facts = Cohort(cohort).facts()
    with RunRecord.open(folder, "python -m finetune", {"data": data}, 0, [], facts):
        pass


def in_one_place(cfg: DictConfig) -> dict:
    """The same figures from everybody's patients at once."""
    model, task = TaskModel.load(Path(cfg.run)), Evaluating(cfg)
    everybody = task.cohort.patients.index.tolist()
    total = tables_of(model, task.cohort, everybody, task.plan(model))
    by_site = {
        site: tables_of(model, Cohort(Path(cfg.data.folder), [site]), rows.index.tolist(), task.plan(model))
        for site, rows in task.cohort.patients.groupby("hospital", sort=False)
    }
    statistics = model.head.statistics()
    return figures(statistics, total, by_site, cfg.hospital_replicates, cfg.seed, Support())


def same(one: object, other: object, at: str = "") -> None:
    """Holds two results against each other, numbers within 1e-10."""
    if isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys(), at
        for name in one:
            same(one[name], other[name], f"{at}/{name}")
    elif isinstance(one, list):
        assert isinstance(other, list) and len(one) == len(other), at
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            same(left, right, f"{at}/{place}")
    elif isinstance(one, float):
        assert other == pytest.approx(one, abs=1e-10, rel=1e-10, nan_ok=True), at
    else:
        assert one == other, at


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("labels", "discrete", "competing")]


@pytest.mark.parametrize("task", ["biomarker", "survival", "quantity", *SLOW])
def test_figures_over_hospitals_are_those_of_one_place(evaluated: Evaluate, task: str):
    cfg, result = evaluated(task)
    expected = in_one_place(cfg)
    same({name: result[name] for name in expected}, json.loads(json.dumps(expected)))
    assert result["sites"] == list(SITES) and result["absent"] == {}
    primary = next(iter(result["overall"]))
    figure = result["overall"][primary]
    assert figure["low"] < figure["value"] < figure["high"]
    assert {"genomics alone", "sex F", "sex M", "age below 50", "age 50 to 65", "age from 65"} <= set(result["groups"])


def test_how_far_answers_can_be_relied_on_is_that_of_one_place(
    evaluated: Evaluate, build, uneven: Path, tmp_path: Path
):
    write_model(build, uneven, tmp_path / "biomarker", HEADS["biomarker"], "biomarker", reliable=True)
    cfg, result = evaluated("biomarker")
    model, task = TaskModel.load(Path(cfg.run)), Evaluating(cfg)
    whole = task.cohort
    total = tables_of(model, whole, whole.patients.index.tolist(), task.plan(model))
    by_site = {
        site: tables_of(model, Cohort(Path(cfg.data.folder), [site]), rows.index.tolist(), task.plan(model))
        for site, rows in whole.patients.groupby("hospital", sort=False)
    }
    expected = reliability(0.8, total, by_site, Support())
    same(result["reliability"], json.loads(json.dumps(expected)))
    assert set(result["reliability"]["by_hospital"]) == set(SITES)
    assert "genomics alone" in result["reliability"]["by_modality"]
    patients = seen_by(model, whole, whole.patients.index, model.task["modalities"]).patients
    answers = TaskModel.load(Path(cfg.run)).predict([whole.sample(patient) for patient in patients])
    told = result["reliability"]["overall"]
    abstained = sum(answer["reliability"]["abstain"] for answer in answers) / len(answers)
    assert told["n"] == len(patients) and told["abstained"]["value"] == pytest.approx(abstained, abs=1e-12)
    assert 0 < told["abstained"]["value"] < 1 and told["abstained"]["low"] < told["abstained"]["high"]
    assert "| reliability |" in (Path(cfg.output) / "evaluation.md").read_text()


def test_hospital_of_one_class_has_no_area_and_counts_in_that_of_all(evaluated: Evaluate):
    _, result = evaluated("biomarker")
    assert result["by_hospital"]["lakeview"]["auc"]["value"] is None
    assert "0 negatives" in result["by_hospital"]["lakeview"]["auc"]["reason"]
    assert result["overall"]["auc"]["n"] == sum(part["auc"]["n"] for part in result["by_hospital"].values())


def test_hospital_without_events_has_no_concordance_and_counts_in_that_of_all(evaluated: Evaluate):
    _, result = evaluated("survival")
    assert result["by_hospital"]["riverside"]["c_index"]["value"] is None
    assert result["overall"]["c_index"]["outcomes"]["censored"] > result["by_hospital"]["riverside"]["c_index"]["n"]


def test_masked_tables_give_the_figures_of_open_ones_and_no_hospitals(evaluated: Evaluate, tmp_path: Path):
    _, shown = evaluated("biomarker")
    _, hidden = evaluated("biomarker", "secure=secagg_plus", f"output={tmp_path / 'masked'}")
    same(shown["overall"], hidden["overall"])
    same(shown["groups"], hidden["groups"])
    assert hidden["by_hospital"] == {} and "new_hospital" not in hidden
    assert not (tmp_path / "masked" / "exchange" / "sites").exists()
    page = (tmp_path / "masked" / "evaluation.md").read_text()
    assert "the server saw sums over them alone" in page


def test_site_with_small_cells_stays_out_in_the_open(evaluated: Evaluate, tmp_path: Path):
    home = tmp_path / "evaluation" / "sites" / "lakeview"
    home.mkdir(parents=True)
    output = f"output={tmp_path / 'evaluation'}"
    (home / "site.yaml").write_text("name: lakeview\npolicy: policy.yaml\n")
    (home / "policy.yaml").write_text("patients: {cell: 5}\n")
    with pytest.raises(UserError, match=r"3 of 4 sites answered, 4 are needed \(lakeview: declined: policy: patients"):
        evaluated("biomarker", output)
    _, result = evaluated("biomarker", output, "quorum=0.7")
    assert result["sites"] == ["riverside", "northgate", "summit"]
    assert "lakeview did not answer" in (home.parents[1] / "evaluation.md").read_text()


@pytest.mark.parametrize("reads", ["steps", "experts"])
def test_each_subset_is_seen_as_if_it_were_all_and_nothing_else_is_read(build, cohort, monkeypatch, reads: str):
    names = ["genomics", "report", "record"]
    model = build()
    if reads == "experts":
        sizes = {name: sum(model.encoder.feature_sizes([name]).values()) for name in names}
        model.head = Classification(32, "biomarker", blocks=sizes).eval()
        for expert in model.head.score.parameters():
            torch.nn.init.normal_(expert)
    patients = cohort.patients.index[:24].tolist()
    loaded: list[str] = []
    sample = cohort.sample

    def counting(patient: str, modalities=None) -> dict:
        values = sample(patient, modalities)
        loaded.extend(f"{patient} {name}" for name in values)
        return values

    monkeypatch.setattr(cohort, "sample", counting)
    parts = seen_through(model, cohort, patients, [names, ["report"], ["genomics", "record"]])
    assert len(loaded) == len(set(loaded)) and not any(name.endswith("ology") for name in loaded)
    for part, some in zip(parts, (names, ["report"], ["genomics", "record"]), strict=True):
        assert part.patients == [patient for patient in patients if set(some) & set(sample(patient))]
        for patient, estimate in zip(part.patients, part.estimates, strict=True):
            batch = model.encoder.encode_samples([model.usable(sample(patient, some))]).floating(torch.float64)
            alone = model.head.estimate(model.score_batch(batch)).numpy()[0]
            assert estimate == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("labelled", [0, 2])
def test_patients_without_a_target_do_not_stand_behind_the_tables(evaluated: Evaluate, tmp_path: Path, labelled: int):
    cfg, _ = evaluated("biomarker")
    cohort = tmp_path / "few"
    shutil.copytree(cfg.data.folder, cohort)
    table = pd.read_parquet(cohort / "lakeview" / "patients.parquet")
    table.loc[table.index[labelled:], "biomarker"] = np.nan
    table.to_parquet(cohort / "lakeview" / "patients.parquet")
    cfg.data.folder = str(cohort)
    task = Evaluating(cfg, "lakeview")
    task.home = tmp_path / "home"
    assert len(task.patients("evaluation")) > 2
    assert task.sums(TABLES, {}, to_question(packed(Path(cfg.run)))).patients == labelled


@pytest.mark.slow
def test_hospitals_that_a_run_did_not_know_are_tested_as_a_whole(evaluated: Evaluate, tmp_path: Path):
    evaluated("biomarker")
    record = json.loads((tmp_path / "biomarker" / "run.json").read_text())
    record["notes"] = {"trained_on": {"hospitals": ["riverside", "northgate"], "run": "earlier"}}
    (tmp_path / "biomarker" / "run.json").write_text(json.dumps(record))
    cfg, result = evaluated("biomarker", "part=test", f"output={tmp_path / 'test'}")
    assert list(cfg.data.test_hospitals) == ["lakeview", "summit"]
    assert result["by_hospital"]["riverside"]["auc"]["n"] == 0
    whole = Cohort(Path(cfg.data.folder), ["lakeview", "summit"])
    assert result["overall"]["brier"]["n"] == len(
        seen_by(TaskModel.load(Path(cfg.run)), whole, whole.patients.index, ["genomics", "report", "record"]).patients
    )


def test_model_travels_as_the_files_that_it_is(evaluated: Evaluate, tmp_path: Path):
    cfg, _ = evaluated("biomarker")
    folder = unpacked(of_question(to_question(packed(Path(cfg.run)))), tmp_path / "models")
    assert folder == unpacked(packed(Path(cfg.run)), tmp_path / "models")
    assert packed(folder).keys() == packed(Path(cfg.run)).keys()
    for name, content in packed(folder).items():
        np.testing.assert_array_equal(content, packed(Path(cfg.run))[name])


@pytest.mark.parametrize("name", ["../task.json", "/etc/x.json", "a/b/c/d.json", "encoder/run.py", "encoder/..json/x"])
def test_file_of_another_name_is_refused(tmp_path: Path, name: str):
    with pytest.raises(UserError, match=r"^model: a file came that no model has"):
        unpacked({name: np.zeros(3, dtype=np.uint8)}, tmp_path)
    assert list(tmp_path.iterdir()) == []
