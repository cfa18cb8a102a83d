"""Cross-validation from its command: each patient tested by a model that has not seen it, beside baselines."""

import importlib
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from finetune.crossvalidate import as_markdown
from finetune.crossvalidation import CrossValidation
from finetune.folds import cross_validation
from finetune.heads.classification import Classification
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.lineage import NOTE, note_of
from foundation.run_record import RunRecord


@pytest.fixture
def run(build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_cohort: Path) -> Callable[..., Path]:
    build().encoder.save_pretrained(tmp_path / "first" / "encoder")

    def called(*arguments: str) -> Path:
        module = importlib.import_module("finetune.crossvalidate")
        settings = [f"pretrained={tmp_path}/first", f"data.folder={small_cohort}", f"output={tmp_path}/folds"]
        monkeypatch.setattr(sys, "argv", ["python -m finetune.crossvalidate", *settings, "resamples=20", *arguments])
        monkeypatch.chdir(tmp_path)
        GlobalHydra.instance().clear()
        handlers = logging.root.handlers[:]
        try:
            module.main()
        finally:
            GlobalHydra.instance().clear()
            logging.root.handlers[:] = handlers
        return tmp_path / "folds"

    return called


def test_every_hospital_is_left_out_once_in_one_table(run, cohort: Cohort):
    output = run("method=experts", "data.test_hospitals=[]")
    result = json.loads((output / "crossvalidation.json").read_text())
    assert [fold["name"] for fold in result["folds"]] == cohort.hospitals
    assert result["n"] == sum(fold["n"] for fold in result["folds"])
    table = pd.read_parquet(output / "predictions.parquet")
    assert table["patient_id"].is_unique and len(table) == result["n"]
    assert (table["fold"] == table["hospital"]).all()
    assert {"ridge on record", "ridge on report"} <= set(result["baselines"])
    page = (output / "crossvalidation.md").read_text()
    assert "| all folds together |" in page and "| baseline: ridge on record |" in page


def test_heads_that_are_trained_by_steps_are_cross_validated_too(run):
    output = run("by=folds", "data.folds=2", "steps=2", "progress=false", "validate_every=0", "checkpoint_every=0")
    result = json.loads((output / "crossvalidation.json").read_text())
    assert [fold["name"] for fold in result["folds"]] == ["repeat 1, fold 1", "repeat 1, fold 2"]


@pytest.fixture
def pretraining_knows(tmp_path: Path, cohort: Cohort) -> Callable[[list[str]], None]:
    """Makes the encoder's run one that trained on all patients of some hospitals."""

    def write(hospitals: list[str]) -> None:
        patients = list(cohort.patients.index[cohort.patients["hospital"].isin(hospitals)])
        with RunRecord.open(tmp_path / "first", "python -m pretrain", {}, 0, [cohort.folder], cohort.facts()) as record:
            record.note(NOTE, note_of(tmp_path / "first", patients, [], hospitals))

    return write


def test_patients_whom_the_encoder_trained_on_are_refused_or_said_first(run, pretraining_knows, capsys):
    pretraining_knows(["northgate"])
    few = ["method=experts", "data.test_hospitals=[]"]
    with pytest.raises(SystemExit) as ended:
        run(*few)
    assert ended.value.code == 2
    line = "test patients: first trained on 20 of 78 test patients (hospital northgate), so they are not held out"
    assert line in re.sub(r"\S+/first", "first", capsys.readouterr().err)
    output = run(*few, "allow_seen=true")
    first = (output / "crossvalidation.md").read_text().splitlines()[0]
    assert first.startswith("> **Seen in training, not held out: ")
    assert json.loads((output / "crossvalidation.json").read_text())["seen"].startswith("Seen in training, not held")
    notes = json.loads((output / "run.json").read_text())["notes"]
    assert notes["seen"].startswith("Seen in training, not held out: ") and notes["held_out"] is False


def test_an_encoder_that_learnt_from_others_is_told_nothing_of(run, pretraining_knows, cohort: Cohort):
    pretraining_knows([])
    output = run("method=experts", "data.test_hospitals=[summit]")
    assert "seen" not in json.loads((output / "crossvalidation.json").read_text())


def config(*overrides: str) -> DictConfig:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        return hydra.compose("crossvalidate", ["pretrained=x", "embeddings=null", "resamples=20", *overrides])


def folds(cohort: Cohort, *overrides: str) -> list:
    return cross_validation(cohort, config(*overrides), Classification(8, "biomarker"))


@pytest.fixture
def validation(build, cohort: Cohort, tmp_path: Path) -> CrossValidation:
    """One that has tested nobody yet."""
    encoder = build().encoder
    encoder.save_pretrained(tmp_path / "encoder")
    return CrossValidation(config(), tmp_path / "encoder", cohort, list(encoder.modalities))


def test_repeats_make_no_more_patients_of_those_whom_they_test(validation: CrossValidation, cohort: Cohort):
    labels = cohort.patients["biomarker"]
    patients = [*labels.index[labels == 1][:4], *labels.index[labels == 0][:8]]  # one positive fewer than it takes
    for repeat in range(3):
        validation.model.add(f"repeat {repeat + 1}, fold 1", patients, np.linspace(0.9, 0.1, 12))
    result = validation.result()
    assert {fold["auc"]["value"] for fold in result["folds"]} == {None}
    assert result["overall"]["auc"]["value"] is None and result["mean"]["value"] is None


def test_one_fold_has_no_spread(validation: CrossValidation, cohort: Cohort):
    patients = list(cohort.patients.index)
    validation.model.add("riverside", patients, np.linspace(0, 1, len(patients)))
    result = {"seen": "", **validation.result()}
    assert result["mean"]["folds"] == 1 and result["mean"]["sd"] is None
    assert "(SD not defined)" in as_markdown(result, "biomarker", "demo")


def test_folds_that_test_nobody_are_refused_in_one_line(validation: CrossValidation):
    with pytest.raises(UserError, match=r"^task biomarker: no fold has a test patient with a target"):
        validation.result()


def test_hospitals_held_out_for_testing_take_no_part(cohort: Cohort):
    apart = set(cohort.patients.index[cohort.patients["hospital"] == "summit"])
    for overrides in (["by=hospital"], ["by=folds", "repeats=2"]):
        for _, fold in folds(cohort, "data.test_hospitals=[summit]", *overrides):
            assert not apart & {*fold.train, *fold.validation, *fold.test}


def test_repeated_folds_test_each_patient_once_a_repeat_and_deal_anew(cohort: Cohort):
    dealt = folds(cohort, "data.test_hospitals=[]", "by=folds", "repeats=2", "data.folds=3")
    assert len(dealt) == 6
    for repeat in (dealt[:3], dealt[3:]):
        assert sorted(patient for _, fold in repeat for patient in fold.test) == sorted(cohort.patients.index)
    assert dealt[0][1].test != dealt[3][1].test


def test_official_folds_come_from_files(cohort: Cohort, tmp_path: Path):
    patients = list(cohort.patients.index)
    for number in range(2):
        parts = ["test" if place % 2 == number else "train" for place in range(len(patients))]
        pd.DataFrame({"patient_id": patients, "part": parts}).to_csv(tmp_path / f"{number}.csv", index=False)
    files = f"split_files=[{tmp_path}/0.csv,{tmp_path}/1.csv]"
    dealt = folds(cohort, "data.test_hospitals=[]", "by=files", files)
    assert sorted(dealt[0][1].test) == sorted(patients[::2])
    assert sorted([*dealt[0][1].train, *dealt[0][1].validation]) == sorted(patients[1::2])
    assert 0 < len(dealt[0][1].validation) < len(dealt[0][1].train)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["by=chance"], "by: found 'chance'; choose from hospital, folds, files"),
        (["by=files"], "split_files: none; name the table of each fold"),
    ],
)
def test_what_cannot_be_folded_is_refused_in_one_line(cohort: Cohort, overrides, line):
    with pytest.raises(UserError, match=line):
        folds(cohort, *overrides)
