"""A task model: what it may look at, and what its folder may hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from finetune.fit import save
from finetune.heads.survival import Survival
from finetune.module import FinetuneModule
from finetune.predictor import TaskModel
from foundation.errors import UserError

GENES = ["TP53", "IDH1", "EGFR", "IDH2"]
HIDDEN = {"mutations": ["IDH1", "IDH2"]}
FLOATS = st.floats(-5, 5, width=32) | st.just(float("nan"))


def genomics(mutations: list[float]) -> dict:
    channels = {"expression": [1.0, 2.0, -1.0, 0.5], "copy_number": [0.0, 1.0, np.nan, -1.0], "mutations": mutations}
    return {name: np.array(values, np.float32) for name, values in channels.items()}


@pytest.fixture
def model(build) -> TaskModel:
    return build(genes=GENES, drop_inputs=HIDDEN)


@pytest.fixture
def folder(model, tmp_path: Path) -> Path:
    task = OmegaConf.create({"name": "idh", "drop_inputs": HIDDEN})
    save(FinetuneModule(model.encoder, model.head), task, ["genomics", "report"], tmp_path)
    return tmp_path


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLOATS, FLOATS)
def test_a_hidden_input_never_changes_the_prediction(model, idh1, idh2):
    plain, changed = (model.scores([{"genomics": genomics([1.0, a, 0.0, b])}]) for a, b in ((0.0, 0.0), (idh1, idh2)))
    assert torch.equal(plain, changed)


def test_what_is_not_hidden_does_change_it(model, build):
    open_model = build(genes=GENES)
    for chosen, mutations in ((model, [0.0, 0.0, 0.0, 0.0]), (open_model, [1.0, 1.0, 0.0, 0.0])):
        plain = chosen.scores([{"genomics": genomics([1.0, 0.0, 0.0, 0.0])}])
        assert not torch.allclose(plain, chosen.scores([{"genomics": genomics(mutations)}]))


def test_hiding_leaves_the_callers_sample_as_it_was(model):
    sample = {"genomics": genomics([1.0, 1.0, 0.0, 1.0])}
    model.predict([sample])
    assert sample["genomics"]["mutations"].tolist() == [1, 1, 0, 1]


def test_a_patient_with_nothing_usable_is_one_line(model):
    only_hidden = {channel: np.full(4, np.nan, np.float32) for channel in ("expression", "copy_number")}
    only_hidden["mutations"] = np.array([np.nan, 1, np.nan, 0], np.float32)
    for sample in ({}, {"pathology": np.zeros((1, 8, 8, 3), np.uint8)}, {"genomics": only_hidden}):
        with pytest.raises(
            UserError, match=r"nothing that the task 'biomarker' may look at.*give at least one of"
        ) as e:
            model.predict([sample])
        assert "\n" not in str(e.value)


def test_a_prediction_names_the_modalities_that_it_rests_on(model):
    record = {"age": 50.0, "sex": "F", "grade": None, "ldh": None}
    samples = [
        {"record": record, "pathology": np.zeros((1, 8, 8, 3), np.uint8)},
        {"report": "Short.", "genomics": genomics([1.0, 0.0, 0.0, 0.0])},
    ]
    found = model.predict(samples)
    assert [set(one["modalities_used"]) for one in found] == [{"record"}, {"report", "genomics"}]
    assert all(sum(one["probabilities"].values()) == pytest.approx(1) for one in found)
    alone = model.predict([{"record": record}])[0]
    assert alone["probabilities"] == pytest.approx(found[0]["probabilities"], abs=1e-5)


def test_a_saved_model_predicts_the_same(model, folder):
    again = TaskModel.load(folder)
    samples = [{"report": "Dense tumour."}, {"genomics": genomics([1.0, 1.0, 0.0, 0.0])}]
    assert torch.equal(again.scores(samples), model.scores(samples))
    assert [one["probabilities"] for one in again.predict(samples)] == [
        one["probabilities"] for one in model.predict(samples)
    ]
    assert again.task["drop_inputs"] == HIDDEN
    assert again.task["modalities"] == ["genomics", "report"]
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pt", ".ckpt") or path.name[0] == "."]


def test_samples_follow_the_weights_to_their_device(model):
    samples = [{"report": "Dense tumour."}, {"genomics": genomics([1.0, 1.0, 0.0, 0.0])}]
    before = model.scores(samples)
    # A device that knows shapes alone: whoever asked it for a value would fail.
    there = model.to(torch.device("meta")).scores(samples)
    assert there.device.type == "meta"
    assert there.shape == before.shape


def test_a_saved_survival_model_keeps_its_baseline(build, tmp_path):
    head = Survival(32)
    targets = {"os_event": torch.tensor([1.0, 1, 0]), "os_days": torch.tensor([300.0, 700, 900])}
    head.calibrate(torch.zeros(3, 1), targets, (torch.randn(3, 1), targets))
    model = build(head, genes=GENES)
    save(FinetuneModule(model.encoder, head), OmegaConf.create({"name": "s", "drop_inputs": {}}), ["report"], tmp_path)
    assert TaskModel.load(tmp_path).predict([{"report": "x"}]) == model.predict([{"report": "x"}])


def change(folder: Path, **values: object) -> None:
    task = json.loads((folder / "task.json").read_text())
    (folder / "task.json").write_text(json.dumps({**task, **values}))


@pytest.mark.parametrize(
    "type_", ["subprocess.Popen", "finetune.heads.base.Tensor", "finetune.heads.survival.cox_loss"]
)
def test_a_folder_cannot_name_a_foreign_head(folder, type_):
    change(folder, head={"type": type_, "settings": {}})
    with pytest.raises(UserError, match=rf"task\.json: head\.type: '{type_}' is no head under finetune\.heads\.\*"):
        TaskModel.load(folder)


def test_another_format_is_refused(folder):
    change(folder, format=99)
    with pytest.raises(UserError, match=r"task\.json: format 99, this release reads 1"):
        TaskModel.load(folder)


@pytest.mark.parametrize("file", ["task.json", "head.safetensors", "encoder/model.safetensors"])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(UserError, match=Path(file).name):
        TaskModel.load(folder)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Where values lie in a JSON document, each of its own."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))] if path else [
        place for key, one in inner for place in places(one, (key,))
    ]  # fmt: skip


def altered(content: dict, place: tuple, value: object) -> dict:
    """A copy with another value at a place; without it where the value is `...`."""
    copy = json.loads(json.dumps(content))
    inside = copy
    for key in place[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    return copy


OTHERS = [..., 3, -1, "x", "", None, [], {}, [3], True, float("nan"), 10**30]


@pytest.mark.parametrize("file", ["task.json", "encoder/config.json"])
def test_an_edited_file_of_a_model_loads_or_is_one_line(folder, file):
    """Every value of the file replaced by others and removed: whatever does not fit is said."""
    reliability = {
        "modalities": ["genomics", "report"], "blocks": [["genomics", "expression", 4]], "alternatives": 2,
        "coverage": 0.9, "flagged": 0.02, "components": 2,
    }  # fmt: skip
    if file == "task.json":
        change(folder, reliability=reliability)
    path = folder / file
    content = json.loads(path.read_text())
    refused = 0
    for place in places(content):
        if "settings" in place[:-1] and file != "task.json" and place[1] != "record":
            continue  # of one modality, for each load builds them all
        for value in OTHERS[::3] if file != "task.json" else OTHERS:
            path.write_text(json.dumps(altered(content, place, value)))
            try:
                TaskModel.load(folder)
            except UserError:
                refused += 1
    assert refused > len(places(content))


def test_reliability_that_is_no_object_is_one_line(folder):
    change(folder, reliability=3)
    with pytest.raises(UserError, match=r"task\.json: reliability: .* found 3; give the output folder of"):
        TaskModel.load(folder)
