"""The command that evaluates across hospitals, as it is typed: who is tested follows from the run."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.federated.evaluate import main
from tests.finetune.federated.test_evaluation import HEADS, write_model

Command = Callable[..., dict]


@pytest.fixture
def typed(build, small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command on a model that trained at two of four hospitals; the written result."""
    run = tmp_path / "biomarker"
    write_model(build, small_cohort, run, HEADS["biomarker"], "biomarker")
    record = json.loads((run / "run.json").read_text())
    record["notes"] = {"trained_on": {"hospitals": ["riverside", "northgate"], "run": "earlier"}}
    (run / "run.json").write_text(json.dumps(record))

    def called(*more: str) -> dict:
        settings = [f"run={run}", f"data.folder={small_cohort}", "federation=serial", "replicates=5", "baselines=null"]
        monkeypatch.setattr(sys, "argv", ["evaluate", *settings, f"output={tmp_path / 'out'}", *more])
        main()
        return json.loads((tmp_path / "out" / "evaluation.json").read_text())

    return called


def test_hospitals_that_the_run_did_not_know_are_tested_unless_others_are_named(typed: Command):
    tested = {name: part["brier"]["n"] for name, part in typed()["by_hospital"].items()}
    assert tested["riverside"] == tested["northgate"] == 0
    assert tested["lakeview"] > 0 and tested["summit"] > 0
    fewer = typed("data.test_hospitals=[summit]", "overwrite=true")["by_hospital"]
    assert [fewer[name]["brier"]["n"] for name in ("lakeview", "summit")] == [0, tested["summit"]]


def test_modalities_are_the_models_own(typed: Command, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        typed("data.modalities=[recrod]")
    assert ended.value.code == 2
    assert "error: data.modalities: the model looks at " in capsys.readouterr().err
