"""An evaluation never calls patients held out whom the run, or one it builds on, was trained on."""

import json
import re
from pathlib import Path

import hydra
import pandas as pd
import pytest
from omegaconf import OmegaConf

from finetune.evaluate import main
from finetune.fit import save
from finetune.module import FinetuneModule
from foundation.data.cohort import Cohort
from foundation.data.splits import Split, split
from foundation.errors import UserError
from foundation.lineage import NOTE, note_of
from foundation.run_record import RunRecord

HELD_OUT = {"data": {"test_hospitals": ["summit"]}}


@pytest.fixture
def fine_tuned(build, cohort: Cohort, tmp_path: Path):
    """Makes a task model of hospitals other than summit, on an encoder that trained on the patients of a split."""

    def made(pretraining: Split) -> Path:
        parts, model = split(cohort, ["summit"], 0.2, 0), build()
        first, run = tmp_path / "first", tmp_path / "run"
        for folder, command, seen, parents in (
            (first, "python -m pretrain", pretraining, [cohort.folder]),
            (run, "python -m finetune", parts, [first, cohort.folder]),
        ):
            with RunRecord.open(folder, command, HELD_OUT, 0, parents, cohort.facts()) as record:
                hospitals = cohort.patients.loc[[*seen.train, *seen.validation], "hospital"].tolist()
                record.note(NOTE, note_of(folder, seen.train, seen.validation, hospitals))
                record.note("samples", dict.fromkeys(model.task["modalities"], len(hospitals)))
        save(FinetuneModule(model.encoder, model.head), OmegaConf.create(model.task), model.task["modalities"], run)
        parts.save(run / "split.json", cohort.digest)
        return run

    return made


def evaluate(run: Path, *more: str) -> dict:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("evaluate", [f"run={run}", "resamples=5", *more])
    main.__wrapped__(cfg)
    return json.loads((run / "evaluation" / "run.json").read_text())


def test_test_patients_of_an_ancestors_training_are_refused_or_said_first(fine_tuned, cohort, capsys):
    run = fine_tuned(split(cohort, [], 0.2, 0))
    words = "first trained on 15 of 15 test patients (hospital summit)"
    with pytest.raises(UserError, match=r"trained on 15 of 15 test patients \(hospital summit\), so they are not"):
        evaluate(run)
    assert not (run / "evaluation").exists()
    capsys.readouterr()
    record = evaluate(run, "allow_seen=true")
    first = f"Seen in training, not held out: {run.parent.name}/{words}."
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("Seen in training, not held out: ")
    assert "Held-out test" not in printed
    assert (run / "evaluation" / "evaluation.md").read_text().splitlines()[0] == f"> **{first}**"
    assert {name: record["notes"][name] for name in ("seen", "held_out")} == {"seen": first, "held_out": False}


def test_patients_held_out_everywhere_are_held_out(fine_tuned, cohort, capsys):
    record = evaluate(fine_tuned(split(cohort, ["summit"], 0.2, 0)))
    assert "seen" not in record["notes"]
    assert "Held-out test" in capsys.readouterr().out


def test_every_figure_and_every_prediction_are_files(fine_tuned, cohort):
    run = fine_tuned(split(cohort, ["summit"], 0.2, 0))
    evaluate(run, "predict=[train,test]", "subgroups=[biomarker]", "grid=declared")
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert results["grid"] == "declared"
    assert {"group", "level", "n", "estimator", "interval", "seed", "source", "split"} <= set(results["figures"][0])
    assert {"hospital", "sex", "age", "has", "biomarker"} < {row["group"] for row in results["figures"]}
    assert {"roc", "calibration", "decision"} < set(results["curves"])
    predictions = pd.read_parquet(run / "evaluation" / "predictions.parquet")
    assert set(predictions["split"]) == {"train", "test"}
    assert set(predictions[predictions["split"] == "test"]["subset"]) > {"all", "report alone", "all but report"}
    assert not predictions.duplicated(["split", "subset", "patient", "output"]).any()
    parts = split(cohort, ["summit"], 0.2, 0)
    assert set(predictions[predictions["split"] == "train"]["patient"]) <= set(parts.train)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("grid=coarse", "grid: found 'coarse'; choose exact or declared"),
        ("predict=[tests]", "predict: found 'tests'; choose of train, validation and test"),
    ],
)
def test_a_setting_that_is_none_is_one_line(fine_tuned, cohort, setting, words):
    run = fine_tuned(split(cohort, ["summit"], 0.2, 0))
    with pytest.raises(UserError, match=re.escape(words)):
        evaluate(run, setting)
