"""The Python API answers as the endpoint and as the cohort's own patients do."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.files import read_json, write_json
from serve.api import Model, load
from serve.bundle import largest_difference, write_bundle
from serve.client import to_request
from serve.predictor import Predictor


@pytest.fixture(scope="module")
def bundled(bundle: Path) -> Model:
    return load(bundle)


def test_a_bundle_predicts_from_requests_as_its_endpoint_does(
    bundled: Model, predictor: Predictor, cohort: Cohort, complete: str
):
    request = to_request(cohort.sample(complete), predictor.schema)
    alone = {"record": request["record"]}
    answers = bundled.predict([request, alone])
    for answer, body in zip(answers, (request, alone), strict=True):
        (served,) = predictor.answer([body])
        assert largest_difference(answer, served.prediction) < 1e-5
        assert answer["modalities_used"] == served.modalities_used


def test_a_run_predicts_a_cohorts_patients_by_id(run: Path, cohort: Cohort):
    patients = list(cohort.patients.index[:3])
    answers = load(str(run)).predict(cohort, ids=patients)
    eager = TaskModel.load(run).predict([cohort.sample(patient) for patient in patients])
    assert [answer["patient"] for answer in answers] == patients
    assert all(largest_difference(one, other) < 1e-5 for one, other in zip(answers, eager, strict=True))
    request = {"report": "Dense tumour.", "record": {"age": 61, "sex": "F"}}
    assert load(run).predict([request])[0]["modalities_used"] == ["report", "record"]


def test_embeddings_are_the_encoders_own_a_row_a_patient(run: Path, cohort: Cohort):
    model, encoder = load(run), load(run / "encoder")
    patients = list(cohort.patients.index[:20])
    table = model.embed(cohort, ids=patients)
    assert list(table.index) == patients and table.shape == (20, 32)
    np.testing.assert_allclose(encoder.embed(cohort, ids=patients), table, atol=1e-5)
    one = model.encoder(model.encoder.encode_samples([cohort.sample(patients[-1])])).fused.detach().numpy()
    np.testing.assert_allclose(table.iloc[[-1]], one, atol=1e-5)
    assert len(model.embed(cohort)) == len(cohort.patients)


def test_what_cannot_be_asked_is_one_line(bundled: Model, run: Path, cohort: Cohort, tmp_path: Path):
    with pytest.raises(UserError, match=r"patient 1: record\.age"):
        bundled.predict([{"record": {"age": 60}}, {"record": {"age": "old"}}])
    with pytest.raises(UserError, match="shoe_size"):
        bundled.predict([{"shoe_size": 44}])
    with pytest.raises(UserError, match="predict: an encoder alone has no head"):
        load(run / "encoder").predict(cohort)
    with pytest.raises(UserError, match="request: no data dictionary is known"):
        load(shutil.copytree(run / "encoder", tmp_path / "alone")).embed([{"report": "x"}])
    with pytest.raises(UserError, match="ids: demo has no patient of one of these ids"):
        bundled.embed(cohort, ids=["nobody"])
    with pytest.raises(UserError, match=r"config\.json, so it is no encoder folder"):
        load(tmp_path)


def untaught(run: Path, folder: Path, name: str) -> Path:
    """The same run, had no patient trained a modality."""
    shutil.copytree(run, folder)
    record = read_json(folder / "run.json", "")
    record["notes"]["samples"][name] = 0
    for link in record["builds_on"]:
        link["path"] = str((run / link["path"]).resolve())
    write_json(folder / "run.json", record)
    return folder


def test_a_modality_that_nobody_trained_is_not_looked_at(run: Path, cohort: Cohort, complete: str, tmp_path: Path):
    folder = untaught(run, tmp_path / "run", "report")
    write_bundle(folder, tmp_path / "bundle", None, cohort)
    for model in (load(folder), load(tmp_path / "bundle")):
        assert "report" not in model.predict(cohort, ids=[complete])[0]["modalities_used"]
        with pytest.raises(UserError, match="patient 0: report: unknown field"):
            model.predict([{"report": "Dense tumour."}])
    encoder = load(folder / "encoder")
    sample = {name: value for name, value in cohort.sample(complete).items() if name != "report"}
    one = encoder.encoder(encoder.encoder.encode_samples([sample])).fused.detach().numpy()
    np.testing.assert_allclose(encoder.embed(cohort, ids=[complete]), one, atol=1e-5)
    encoder.modalities = ["radiology"]
    without = next(name for name in cohort.patients.index if "radiology" not in cohort.sample(name))
    with pytest.raises(UserError, match="ids: one of these patients has none of radiology"):
        encoder.embed(cohort, ids=[without])


@pytest.mark.parametrize("request_", [3, None, "text", [1], {1: 2}], ids=str)
def test_what_is_no_request_is_one_line(bundled: Model, request_: Any):
    with pytest.raises(UserError, match="patient 0: "):
        bundled.predict([request_])


def test_a_bundle_whose_files_changed_is_refused(bundle: Path, tmp_path: Path):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / "model" / "task.json").write_text("{}")
    with pytest.raises(UserError, match="changed since"):
        load(copy)
