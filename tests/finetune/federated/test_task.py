"""A head trained across hospitals: its rounds, its folder, and who may read it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune.federated.features import targets_of
from finetune.federated.task import Finetuning
from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.federation.ledger import verify
from foundation.federation.ledger.reconcile import Side, reconcile
from foundation.federation.runtime.command import federate
from tests.finetune.federated.conftest import SITES, Configure

COMMAND = "python -m finetune.federated"


def test_modalities_are_those_of_the_data_or_of_the_task_never_two_lists(configured: Configure):
    assert configured("data.modalities=[record,report]").data.modalities == ["record", "report"]
    assert configured("task.modalities=[record]").data.modalities == ["record"]
    assert configured("task.modalities=[record]", "data.modalities=[record]").data.modalities == ["record"]
    with pytest.raises(UserError, match=r"data\.modalities: found \['report'\], but task\.modalities is \['record'\]"):
        configured("task.modalities=[record]", "data.modalities=[report]")
    with pytest.raises(UserError, match=r"data\.modalities: the encoder has no 'smell'; it has "):
        configured("data.modalities=[smell]")
    with pytest.raises(UserError, match=r"data\.modalities: found \[\]; name some of "):
        configured("data.modalities=[]")


@pytest.mark.parametrize("frozen", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_head_learns_across_hospitals_and_becomes_a_task_model(configured: Configure, tmp_path: Path, frozen: bool):
    output = tmp_path / "run"
    federate(configured(f"frozen={frozen}".lower()), COMMAND)
    before, after = (load_file(output / "rounds" / f"round_000{number}.safetensors") for number in (1, 2))
    assert any((before[name] != after[name]).any() for name in before if name.startswith("head.score"))
    assert frozen == all(name.startswith("head.") for name in after)
    lines = json.loads((output / "history.json").read_text())["rounds"]
    assert [line["absent"] for line in lines] == [{}, {}]
    assert set(lines[0]["coverage"]["head"]) == set(SITES)
    assert set(lines[1]["evaluation"]) == {*SITES, "summit"}
    assert {"auc", "loss", "patients"} <= set(lines[1]["evaluation"]["summit"])
    if not frozen:
        assert set(lines[0]["coverage"]["genomics"]) == {"riverside", "lakeview"}
    model = TaskModel.load(output)
    for name, value in model.head.state_dict().items():
        assert (value == after[f"head.{name}"]).all()
    for path in (output / "ledger.jsonl", *(output / "sites" / site / "ledger.jsonl" for site in SITES)):
        assert verify(path) == []


def test_class_weights_are_those_of_all_hospitals_together(configured: Configure, tmp_path: Path, cohort: Cohort):
    cfg = configured("rounds=1", "steps_per_round=1")
    federate(cfg, COMMAND)
    counts = cohort.patients.loc[Finetuning(cfg).patients("train"), "biomarker"].value_counts()
    expected = [counts.sum() / (2 * counts[value]) for value in (0, 1)]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["notes"]["outcomes"] == {"train": {"events": counts[1]}}
    head = load_file(tmp_path / "run" / "head.safetensors")
    torch.testing.assert_close(head["class_weights"], torch.tensor(expected, dtype=torch.float32))
    assert json.loads((tmp_path / "run" / "task.json").read_text())["head"]["settings"][
        "class_weights"
    ] == pytest.approx(expected)


def test_calibration_is_that_of_all_validation_patients_in_one_place(configured: Configure, tmp_path: Path):
    cfg = configured()
    federate(cfg, COMMAND)
    model = TaskModel.load(tmp_path / "run")
    task = Finetuning(cfg)
    kept = {name: value.clone() for name, value in model.head.named_buffers()}
    with torch.no_grad():
        scores = model.scores([task.validation.sample(patient) for patient in task.validation.patients])
    model.head.log_scale.zero_()
    model.head.shift.zero_()
    model.head.calibrate(scores, targets_of(task.validation), (scores[:0], {}))
    for name, value in model.head.named_buffers():
        torch.testing.assert_close(kept[name], value, atol=1e-3, rtol=0, msg=name)
    assert kept["log_scale"].abs().item() > 1e-3


def test_masked_sums_are_those_in_the_open(configured: Configure, tmp_path: Path):
    """Class weights before training and calibration after it, with everything that leaves summed under masks."""
    shared = ["secure=secagg_plus", "rounds=1", "steps_per_round=1", "data.modality_dropout=0"]
    weights = {}
    for name, settings in (("masked", shared), ("open", shared[1:])):
        federate(configured(*settings, f"output={tmp_path / name}"), COMMAND)
        weights[name] = load_file(tmp_path / name / "head.safetensors")
    torch.testing.assert_close(weights["masked"]["class_weights"], weights["open"]["class_weights"])
    torch.testing.assert_close(weights["masked"]["log_scale"], weights["open"]["log_scale"], atol=1e-2, rtol=0)
    ledgers = [tmp_path / "masked" / "ledger.jsonl"]
    ledgers += [tmp_path / "masked" / "sites" / site / "ledger.jsonl" for site in SITES]
    assert [
        problem for problem in reconcile([Side.read(path) for path in ledgers]) if problem.kind != "unchecked"
    ] == []
    sums = [json.loads(line) for line in ledgers[0].read_text().splitlines() if '"statistics"' in line]
    assert all(entry["masked"] and not entry.get("digest") for entry in sums if entry["direction"] == "in")


def test_site_whose_policy_tells_no_small_cells_is_named(configured: Configure, tmp_path: Path):
    home = tmp_path / "run" / "sites" / "lakeview"
    home.mkdir(parents=True)
    (home / "site.yaml").write_text("name: lakeview\npolicy: policy.yaml\n")
    (home / "policy.yaml").write_text("patients: {cell: 10}\n")
    with pytest.raises(UserError, match=r"lakeview: declined: policy: patients\.cell: 'targets' hold counts below 10"):
        federate(configured(), COMMAND)


@pytest.mark.slow
def test_site_tells_no_sums_that_its_policy_does_not_list(configured: Configure, tmp_path: Path):
    home = tmp_path / "run" / "sites" / "lakeview"
    home.mkdir(parents=True)
    (home / "site.yaml").write_text("name: lakeview\npolicy: policy.yaml\n")
    (home / "policy.yaml").write_text("statistics: [counts]\n")
    with pytest.raises(UserError, match=r"lakeview: declined: policy: statistics: 'targets' is not allowed here"):
        federate(configured(), COMMAND)


@pytest.mark.slow
def test_privacy_of_updates_asks_for_no_exact_sums(configured: Configure, tmp_path: Path):
    federate(configured("privacy=central", "rounds=1", "steps_per_round=1"), COMMAND)
    head = load_file(tmp_path / "run" / "head.safetensors")
    assert head["class_weights"].tolist() == [1.0, 1.0]
    assert head["log_scale"].item() == 0.0


def test_site_with_another_encoder_takes_no_part(configured: Configure, tmp_path: Path, build):
    cfg = configured()
    torch.manual_seed(5)
    other = build().encoder
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    other.save_pretrained(tmp_path / "other" / "encoder")
    cfg.pretrained = str(tmp_path / "other")
    with pytest.raises(UserError, match=r"^pretrained: the encoder here is another one than the run's"):
        federate(cfg, COMMAND)


@pytest.mark.process
@pytest.mark.slow
def test_task_model_of_hospitals_is_evaluated_and_exported_like_any_other(
    configured: Configure, tmp_path: Path, small_cohort: Path
):
    federate(configured("data.validation_fraction=0.3", "reliability={coverage: 0.9, flagged: 0.02}"), COMMAND)
    run = tmp_path / "run"
    for module, *settings in (
        ("finetune.evaluate", f"run={run}", "resamples=20", f"output={tmp_path / 'evaluation'}"),
        ("serve.export", f"run={run}", f"output={tmp_path / 'export'}"),
        ("serve.card", f"evaluation={tmp_path / 'evaluation'}", f"output={tmp_path / 'card'}"),
    ):
        done = subprocess.run([sys.executable, "-m", module, *settings], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "export" / "bundle").is_dir()
    name = json.loads((run / "run.json").read_text())["notes"]["trained_on"]["run"]
    assert json.loads((tmp_path / "export" / "run.json").read_text())["notes"]["federated_runs"] == [name]
    page = (tmp_path / "card" / "README.md").read_text()
    assert "### finetune.federated: run" in page and "Held-out patients of cohort demo" in page
