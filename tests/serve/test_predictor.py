"""A bundle answers as the fine-tuned model does, and refuses what it cannot read in one line."""

import base64
import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.predictor import TaskModel
from foundation.data.cohort import MODALITIES, Cohort
from foundation.errors import UserError
from serve.client import to_request
from serve.export import held_out_patient, largest_difference
from serve.predictor import Predictor
from serve.schema import Response


@pytest.fixture
def request_of(cohort: Cohort, predictor: Predictor, complete: str) -> dict[str, Any]:
    return copy.deepcopy(to_request(cohort.sample(complete), predictor.schema))


def answer(predictor: Predictor, body: Any) -> Response:
    (found,) = predictor.answer([body if isinstance(body, bytes) else json.dumps(body)])
    if isinstance(found, UserError):
        raise found
    return found


@pytest.mark.parametrize("names", [*([name] for name in MODALITIES), list(MODALITIES)], ids="-".join)
def test_a_bundle_answers_as_the_eager_model(
    names: list[str], run: Path, cohort: Cohort, predictor: Predictor, complete: str, request_of: dict[str, Any]
):
    found = answer(predictor, {name: request_of[name] for name in names})
    sample = cohort.sample(complete)
    eager = TaskModel.load(run).predict([{name: sample[name] for name in names}])[0]
    assert largest_difference(found.prediction, eager) < 1e-4
    assert found.prediction["class"] == eager["class"]
    assert found.modalities_used == names
    assert found.synthetic


def test_order_of_genes_does_not_matter(predictor: Predictor, request_of: dict[str, Any]):
    genomics = request_of["genomics"]
    turned = genomics | {"expression": dict(reversed(genomics["expression"].items()))}
    assert answer(predictor, {"genomics": turned}).prediction == answer(predictor, {"genomics": genomics}).prediction


def test_an_unknown_gene_is_left_out_and_said(predictor: Predictor, request_of: dict[str, Any]):
    genomics = request_of["genomics"]
    more = genomics | {"expression": genomics["expression"] | {"NOSUCHGENE": 3.0}}
    found = answer(predictor, {"genomics": more})
    assert found.prediction == answer(predictor, {"genomics": genomics}).prediction
    assert "NOSUCHGENE" in found.warnings[0]


def test_a_unit_that_converts_exactly_is_converted(predictor: Predictor, request_of: dict[str, Any]):
    genomics = request_of["genomics"]
    tpm = {"unit": "tpm", "expression": {gene: 2**value - 1 for gene, value in genomics["expression"].items()}}
    log2 = {"unit": genomics["unit"], "expression": genomics["expression"]}
    found = answer(predictor, {"genomics": tpm}).prediction
    assert largest_difference(found, answer(predictor, {"genomics": log2}).prediction) < 1e-4


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
UNREADABLE = {
    "no JSON": (b"{", "request"),
    "no object": (b"[]", "request"),
    "empty body": (b"", "Content-Type: application/json"),
    "no modality": ({}, "request"),
    "all null": ({"report": None}, "request"),
    "not UTF-8": (b'{"report": "\xff"}', "UTF-8"),
    "unknown modality": ({"pathologie": []}, "pathology"),
    "images as text": ({"pathology": "abc"}, "pathology"),
    "no images": ({"radiology": []}, "radiology"),
    "bad base64": ({"pathology": ["?"]}, "pathology[0]"),
    "truncated image": ({"pathology": [PNG]}, "pathology[0]"),
    "image as number": ({"pathology": [3]}, "pathology[0]"),
    "report as number": ({"report": 3}, "report"),
    "blank report": ({"report": "  "}, "report"),
    "unit missing": ({"genomics": {"expression": {"TP53": 1.0}}}, "genomics.unit"),
    "unit of another kind": ({"genomics": {"unit": "zscore", "expression": {"TP53": 1.0}}}, "genomics.unit"),
    "no gene known": ({"genomics": {"unit": "tpm", "expression": {"NOSUCHGENE": 1.0}}}, "genomics"),
    "gene value as text": ({"genomics": {"unit": "tpm", "expression": {"TP53": "high"}}}, "genomics.expression.TP53"),
    "channel unknown": ({"genomics": {"methylation": {"TP53": 1.0}}}, "genomics"),
    "infinite value": (b'{"genomics": {"unit": "tpm", "expression": {"TP53": Infinity}}}', "genomics.expression.TP53"),
    "column unknown": ({"record": {"agee": 61}}, "age"),
    "level unknown": ({"record": {"sex": "female"}}, "record.sex"),
    "number as text": ({"record": {"age": "old"}}, "record.age"),
    "empty record": ({"record": {}}, "record"),
}


@pytest.mark.parametrize(("body", "named"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_request_is_refused_in_one_line_and_spoils_no_other(predictor: Predictor, body: Any, named: str):
    sound = json.dumps({"report": "Nuclear atypia is high."})
    text = body if isinstance(body, bytes) else json.dumps(body)
    refused, answered = predictor.answer([text, sound])
    assert isinstance(answered, Response)
    assert isinstance(refused, UserError)
    assert named in str(refused)
    assert "\n" not in str(refused)


def test_the_example_is_the_held_out_patient_with_the_most_modalities(run: Path, cohort: Cohort):
    patient = held_out_patient(run, cohort)
    summit = cohort.patients.index[cohort.patients["hospital"] == "summit"]
    assert patient in summit
    assert len(cohort.sample(patient)) == max(len(cohort.sample(other)) for other in summit)


def damage_format(model: Path) -> None:
    task = json.loads((model / "task.json").read_text())
    (model / "task.json").write_text(json.dumps(task | {"format": 99}))


def damage_class(model: Path) -> None:
    task = json.loads((model / "task.json").read_text())
    task["head"]["type"] = "subprocess.Popen"
    (model / "task.json").write_text(json.dumps(task))


def damage_modality(model: Path) -> None:
    path = model / "encoder" / "config.json"
    path.write_text(path.read_text().replace("foundation.modalities.report.Report", "os.system"))


def truncate(model: Path) -> None:
    path = model / "head.safetensors"
    path.write_bytes(path.read_bytes()[:40])


def remove(model: Path) -> None:
    (model / "encoder" / "model.safetensors").unlink()


@pytest.mark.parametrize("damage", [damage_format, damage_class, damage_modality, truncate, remove])
def test_a_damaged_bundle_is_refused_in_one_line(damage: Any, bundle: Path, tmp_path: Path):
    shutil.copytree(bundle, tmp_path / "bundle")
    damage(tmp_path / "bundle" / "model")
    with pytest.raises(UserError) as refused:
        Predictor.load(tmp_path / "bundle")
    assert str(tmp_path) in str(refused.value)


def test_nothing_is_unpickled_on_the_way(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a bundle may come from outside: no pickle")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    Predictor.load(bundle)
