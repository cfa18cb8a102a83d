"""An evaluation never calls patients held out whom the run, or one it builds on, was trained on."""

import json
from pathlib import Path

import hydra
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
    assert record["notes"] == {"seen": first, "held_out": False}


def test_patients_held_out_everywhere_are_held_out(fine_tuned, cohort, capsys):
    record = evaluate(fine_tuned(split(cohort, ["summit"], 0.2, 0)))
    assert "seen" not in record["notes"]
    assert "Held-out test" in capsys.readouterr().out
