"""A bundle takes the modalities that patients trained, and no others."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.lineage import trained_groups
from foundation.run_record import RunRecord
from serve.bundle import write_bundle
from serve.predictor import Predictor


def noted(**notes: Any) -> dict[str, Any]:
    return {"notes": notes}


def test_what_patients_trained_is_gathered_over_all_runs():
    flat = noted(samples={"report": 3, "radiology": 0, "fusion": 3})
    by_site = noted(samples={"a": {"record": 2}, "b": {"genomics": 0}})
    hidden = noted(samples={"a": {}}, coverage={"pathology": {"a": 1.0}, "radiology": {}})
    assert trained_groups([flat]) == {"report", "fusion"}
    assert trained_groups([by_site, noted(), {}]) == {"record"}
    assert trained_groups([hidden, flat]) == {"pathology", "report", "fusion"}


@pytest.mark.parametrize(
    ("notes", "name"),
    [
        ({"samples": [1, 2]}, "samples"),
        ({"samples": {"a": {"record": 2}, "b": 3}}, "samples"),
        ({"modalities": "report"}, "modalities"),
        ({"coverage": {"report": 1.0}}, "coverage"),
        ([], "samples"),
    ],
)
def test_notes_of_another_form_are_refused_in_a_line(notes: Any, name: str):
    with pytest.raises(UserError, match=rf"^run\.json of python -m pretrain: notes\.{name} holds no counts by name"):
        trained_groups([{"command": "python -m pretrain", "notes": notes}])


def copied(run: Path, cohort: Cohort, folder: Path, samples: dict[str, int]) -> Path:
    """The fine-tuned model as a run of which a record says who trained what."""
    shutil.copytree(run, folder)
    with RunRecord.open(folder, "python -m finetune", {}, 0, [cohort.folder], cohort.facts()) as record:
        record.note("samples", samples)
    return folder


def test_a_tower_that_nobody_trained_answers_nobody(run: Path, cohort: Cohort, tmp_path: Path):
    trained = copied(run, cohort, tmp_path / "run", {"report": 9, "record": 9, "radiology": 0})
    schema = write_bundle(trained, tmp_path / "bundle", None, cohort)
    assert list(schema.modalities) == ["report", "record"]
    request = json.loads((tmp_path / "bundle" / "request.schema.json").read_text())
    assert list(request["properties"]) == ["report", "record"]
    (error,) = Predictor.load(tmp_path / "bundle").answer([{"radiology": ["AAAA"]}])
    assert str(error) == "radiology: unknown field; known are report, record"


def test_nothing_trained_is_no_bundle(run: Path, cohort: Cohort, tmp_path: Path):
    trained = copied(run, cohort, tmp_path / "run", {})
    with pytest.raises(UserError, match="counts a patient who trained any of pathology, radiology"):
        write_bundle(trained, tmp_path / "bundle", None, cohort)
    assert not (tmp_path / "bundle").exists()
