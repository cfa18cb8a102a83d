"""A bundle answers as the fine-tuned model does, and refuses what it cannot read in one line."""

import base64
import copy
import io
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from serve import manifest
from serve.bundle import held_out_patient, largest_difference
from serve.client import to_request
from serve.predictor import Predictor
from serve.schema import BundleSchema, Response, read_request

MODALITIES = ["pathology", "radiology", "genomics", "report", "record"]


@pytest.fixture
def request_of(cohort: Cohort, predictor: Predictor, complete: str) -> dict[str, Any]:
    return copy.deepcopy(to_request(cohort.sample(complete), predictor.schema))


def answer(predictor: Predictor, body: Any) -> Response:
    (found,) = predictor.answer([body if isinstance(body, bytes) else json.dumps(body)])
    if isinstance(found, UserError):
        raise found
    return found


@pytest.mark.parametrize("names", [*([name] for name in MODALITIES), MODALITIES], ids="-".join)
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
    log2 = {key: request_of["genomics"][key] for key in ("unit", "expression")}
    assert log2["unit"] == "log2_tpm"
    tpm = {"unit": "tpm", "expression": {gene: 2**value - 1 for gene, value in log2["expression"].items()}}
    read = [read_request({"genomics": given}, predictor.schema).sample["genomics"] for given in (tpm, log2)]
    np.testing.assert_allclose(read[0]["expression"], read[1]["expression"], rtol=1e-5, atol=1e-6)
    found = answer(predictor, {"genomics": tpm}).prediction
    assert largest_difference(found, answer(predictor, {"genomics": log2}).prediction) < 1e-4


def test_images_of_several_sizes_and_of_jpeg_are_taken(predictor: Predictor):
    images = [base64.b64encode(picture(side, "JPEG")).decode() for side in (40, 64)]
    assert answer(predictor, {"radiology": images}).modalities_used == ["radiology"]


def picture(side: int, form: str) -> bytes:
    pixels = np.random.default_rng(side).integers(0, 255, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=form)
    return stream.getvalue()


PNG = base64.b64encode(picture(32, "PNG")[:900]).decode()
GIF = base64.b64encode(picture(32, "GIF")).decode()
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
    "image of another format": ({"pathology": [GIF]}, "pathology[0]"),
    "nested without end": (b"[" * 100_000, "request"),
    "image as number": ({"pathology": [3]}, "pathology[0]"),
    "report as number": ({"report": 3}, "report"),
    "blank report": ({"report": "  "}, "report"),
    "unit missing": ({"genomics": {"expression": {"TP53": 1.0}}}, "genomics.unit"),
    "unit of another kind": ({"genomics": {"unit": "zscore", "expression": {"TP53": 1.0}}}, "genomics.unit"),
    "no gene known": ({"genomics": {"unit": "tpm", "expression": {"NOSUCHGENE": 1.0}}}, "genomics"),
    "gene value as text": ({"genomics": {"unit": "tpm", "expression": {"TP53": "high"}}}, "genomics.expression.TP53"),
    "channel unknown": ({"genomics": {"methylation": {"TP53": 1.0}}}, "genomics"),
    "infinite value": (b'{"genomics": {"unit": "tpm", "expression": {"TP53": Infinity}}}', "genomics.expression.TP53"),
    "NaN": (b'{"record": {"age": NaN}}', "record.age"),
    "null alone": (b"null", "request"),
    "mutation neither 0 nor 1": ({"genomics": {"mutations": {"TP53": 2}}}, "genomics.mutations.TP53"),
    "no measurement": ({"genomics": {"unit": "tpm", "expression": {}}}, "genomics"),
    "column unknown": ({"record": {"agee": 61}}, "age"),
    "level unknown": ({"record": {"sex": "female"}}, "record.sex"),
    "number as text": ({"record": {"age": "old"}}, "record.age"),
    "empty record": ({"record": {}}, "record"),
}


@pytest.mark.parametrize(("body", "named"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_request_is_refused_in_one_line_and_spoils_no_other(predictor: Predictor, body: Any, named: str):
    sound = json.dumps({"report": "Nuclear atypia is high."})
    text = body if isinstance(body, bytes) else json.dumps(body)
    first, refused, last = predictor.answer([sound, text, sound])
    assert isinstance(first, Response)
    assert isinstance(last, Response)
    assert largest_difference(first.prediction, last.prediction) < 1e-6
    assert isinstance(refused, UserError)
    assert named in str(refused)
    assert "\n" not in str(refused)
    assert len(str(refused)) < 400


def test_nothing_that_the_task_may_look_at(predictor: Predictor, request_of: dict[str, Any]):
    """A modality outside the task is ignored and said so; alone, or with hidden genes alone, it is refused."""
    task = predictor.model.task | {"modalities": ["genomics", "record"], "drop_inputs": {"mutations": ["TP53"]}}
    model = TaskModel(predictor.model.encoder, predictor.model.head, task)
    narrow = Predictor(predictor.schema, model, predictor.digests)
    report, record = {"report": request_of["report"]}, {"record": request_of["record"]}
    hidden = {"genomics": {"mutations": {"TP53": 1}}}
    refusals = narrow.answer([json.dumps(report), json.dumps(hidden)])
    for refused, sent in zip(refusals, ("report", "genomics"), strict=True):
        assert isinstance(refused, UserError)
        assert f"in {sent}; give at least one of genomics, record" in str(refused)
    found = answer(narrow, report | hidden | record)
    assert found.modalities_used == ["record"]
    assert found.modalities_ignored == ["genomics", "report"]


def test_the_example_is_the_first_held_out_patient_with_the_most_modalities(run: Path, cohort: Cohort):
    test = json.loads((run / "split.json").read_text())["test"]
    counts = {patient: len(cohort.sample(patient)) for patient in test}
    assert len(set(counts.values())) > 1
    richest = [patient for patient, count in counts.items() if count == max(counts.values())]
    assert held_out_patient(run, cohort) == richest[0]


def test_nobody_held_out_no_example(cohort: Cohort, tmp_path: Path):
    assert held_out_patient(tmp_path, cohort) is None


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def foreign_head(bundle: Path) -> None:
    edit(bundle / "model/task.json", head={"type": "subprocess.Popen", "settings": {}})


def foreign_modality(bundle: Path) -> None:
    path = bundle / "model/encoder/config.json"
    path.write_text(path.read_text().replace("foundation.modalities.report.encoder.Report", "os.system"))


def seal(bundle: Path) -> None:
    """Version and manifest of the files as they are: what a forger who knows the code would write."""
    path = bundle / "schema.json"
    if path.is_file() and json.loads(path.read_text())["format"] == 3 and "extra" not in json.loads(path.read_text()):
        schema = BundleSchema.load(bundle)
        edit(path, version=schema.version_of(manifest.digests(bundle)))
    manifest.write(bundle)


def truncate(bundle: Path) -> None:
    path = bundle / "model/head.safetensors"
    path.write_bytes(path.read_bytes()[:40])


# What is done to a bundle, and what the refusal names. Version and manifest are written anew after each.
FORGED = {
    "format of the bundle": (lambda bundle: edit(bundle / "schema.json", format=99), "field format"),
    "format of the task": (lambda bundle: edit(bundle / "model/task.json", format=99), "format 99"),
    "format of the encoder": (lambda bundle: edit(bundle / "model/encoder/config.json", format=99), "format 99"),
    "foreign head": (foreign_head, "'subprocess.Popen' is no head"),
    "foreign modality": (foreign_modality, "'os.system'"),
    "field unknown": (lambda bundle: edit(bundle / "schema.json", extra=1), "field extra"),
    "weights truncated": (truncate, "head.safetensors"),
    "weights gone": (lambda bundle: (bundle / "model/encoder/model.safetensors").unlink(), "model.safetensors"),
    "schema gone": (lambda bundle: (bundle / "schema.json").unlink(), "schema.json"),
}


@pytest.mark.parametrize(("forge", "named"), FORGED.values(), ids=FORGED.keys())
def test_a_bundle_that_names_what_it_must_not_is_refused(
    forge: Callable[[Path], None], named: str, bundle: Path, tmp_path: Path
):
    shutil.copytree(bundle, tmp_path / "bundle")
    forge(tmp_path / "bundle")
    seal(tmp_path / "bundle")
    with pytest.raises(UserError) as refused:
        Predictor.load(tmp_path / "bundle")
    assert str(tmp_path) in str(refused.value)
    assert named in str(refused.value)


EXCHANGED = {
    "another file's bytes": (lambda bundle: edit(bundle / "model/task.json", name="other"), "task.json: changed"),
    "file gone": (lambda bundle: (bundle / "model/head.safetensors").unlink(), "head.safetensors: missing"),
    "file added": (
        lambda bundle: (bundle / "model/encoder/model.bin").write_bytes(b""),
        "model.bin: not of the export",
    ),
    "manifest gone": (lambda bundle: (bundle / "manifest.json").unlink(), "no manifest.json"),
    "manifest cut": (lambda bundle: (bundle / "manifest.json").write_text("{"), "manifest.json: not readable"),
    "manifest no object": (lambda bundle: (bundle / "manifest.json").write_text("[]"), "manifest.json: found a list"),
}


@pytest.mark.parametrize(("exchange", "named"), EXCHANGED.values(), ids=EXCHANGED.keys())
def test_a_bundle_that_is_not_as_exported_is_refused(
    exchange: Callable[[Path], Any], named: str, bundle: Path, tmp_path: Path
):
    shutil.copytree(bundle, tmp_path / "bundle")
    exchange(tmp_path / "bundle")
    with pytest.raises(UserError) as refused:
        Predictor.load(tmp_path / "bundle")
    assert named in str(refused.value)


@pytest.mark.parametrize("file", ["model/task.json", "schema.json"])
def test_a_version_that_its_files_do_not_make_is_refused(file: str, bundle: Path, tmp_path: Path):
    """Whoever changes a file and writes the manifest anew has made another version."""
    shutil.copytree(bundle, tmp_path / "bundle")
    edit(tmp_path / "bundle" / file, synthetic=False)
    manifest.write(tmp_path / "bundle")
    with pytest.raises(UserError, match=r"schema\.json: says version [0-9a-f]{12}, its files make [0-9a-f]{12};"):
        Predictor.load(tmp_path / "bundle")


def test_nothing_is_unpickled_on_the_way(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a bundle may come from outside: no pickle")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    Predictor.load(bundle)
    files = {path.suffix for path in bundle.rglob("*") if path.is_file()}
    assert files == {".json", ".safetensors", ".txt"}


@pytest.mark.process
def test_a_served_model_loads_nothing_that_trains_judges_or_prepares(bundle: Path):
    program = "import sys; from pathlib import Path; from serve.predictor import Predictor; "
    program += "Predictor.load(Path(sys.argv[1])); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, str(bundle)], capture_output=True, text=True, check=True)
    trains = {"pytorch_lightning", "deepspeed", "wandb", "matplotlib", "lifelines", "formulaic"}
    assert not (trains | {"datasets", "nibabel", "pydicom", "hydra", "uvicorn"}) & set(done.stdout.split())
