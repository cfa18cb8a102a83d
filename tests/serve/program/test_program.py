"""The exported program of a bundle answers as the model, for any subset and number, and holds arithmetic alone."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.modalities.base import Inputs, Tokens
from foundation.modalities.record.encoder import Record
from serve import agreement, manifest
from serve.predictor import Predictor
from serve.program import archive
from serve.program.core import rows


@pytest.fixture(scope="module")
def exported(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("program") / "bundle"))
    assert archive.add(folder) is None
    return folder


def test_it_answers_as_eager_and_served_for_every_subset(exported: Path, run: Path, cohort: Cohort, complete: str):
    difference, request = agreement.check(run, exported, cohort, complete)
    assert 0 <= difference < 1e-4
    assert len(request) == 5


def test_one_program_takes_any_number_of_patients_and_parts(exported: Path, cohort: Cohort, complete: str):
    model, run = Predictor.load(exported).model, archive.load(exported)
    names, sample = model.task["modalities"], cohort.sample(complete)
    long = {"report": "Nuclear atypia is high. Mitoses are few. " * 40, "pathology": [*sample["pathology"]] * 3}
    others = [{"report": "Atypia"}, long, {"pathology": sample["pathology"][:1]}, {"record": {}}, sample]
    for count in (1, 2, 3, 5):
        patients = [model.encoder.transform(other) for other in others[:count]]
        scores, _ = run(*rows(model, names, patients))
        for patient, score in zip(patients, scores, strict=True):
            alone = model.score_batch(model.encoder.collate([patient]))[0]
            torch.testing.assert_close(score, alone, rtol=1e-4, atol=1e-5)


def test_weights_are_not_in_it_twice(exported: Path):
    with zipfile.ZipFile(exported / archive.FILE) as stream:
        assert not [name for name in stream.namelist() if "/weights/weight_" in name]
        assert str(Path(__file__).parents[3]) not in stream.read(f"{top(stream)}/models/model.json").decode()


def test_another_program_is_refused_by_the_check(
    exported: Path, run: Path, cohort: Cohort, complete: str, monkeypatch: pytest.MonkeyPatch
):
    real = archive.load(exported)

    def other(inputs: dict[str, Inputs], present: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        scores, features = real(inputs, present)
        return scores + present["record"][:, None] * torch.tensor([0.0, 2e-2]), features

    monkeypatch.setattr(archive, "load", lambda bundle: other)
    with pytest.raises(UserError, match=r"program\.pt2: differs from .* \(record; 1 at once\)"):
        agreement.check(run, exported, cohort, complete)


def test_what_cannot_be_exported_is_named_and_leaves_no_program(run: Path, tmp_path: Path, monkeypatch):
    plain = Record.forward

    def forward(self: Record, inputs: Inputs) -> Tokens:
        if bool(inputs["number"].sum() > 0):
            return Tokens(2 * plain(self, inputs).values, inputs["mask"])
        return plain(self, inputs)

    monkeypatch.setattr(Record, "forward", forward)
    model = TaskModel.load(run)
    reason = archive.write(tmp_path / archive.FILE, model, ["report", "record"])
    assert reason is not None and reason.startswith("record: ")
    assert len(reason.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_program_of_a_changed_bundle_is_not_read(exported: Path, tmp_path: Path):
    folder = Path(shutil.copytree(exported, tmp_path / "bundle"))
    (folder / "model/task.json").write_text((folder / "model/task.json").read_text() + "\n")
    with pytest.raises(UserError, match=r"task\.json: changed since"):
        archive.load(folder)


def test_a_bundle_without_one_says_so(bundle: Path):
    with pytest.raises(UserError, match=r"program\.pt2: missing, for this bundle was exported without"):
        archive.load(bundle)


def top(stream: zipfile.ZipFile) -> str:
    return stream.namelist()[0].partition("/")[0]


def in_model(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes], str], None]:
    def edit(members: dict[str, bytes], folder: str) -> None:
        content = json.loads(members[f"{folder}/models/model.json"])
        change(content)
        members[f"{folder}/models/model.json"] = json.dumps(content).encode()

    return edit


def pickled(members: dict[str, bytes], folder: str) -> None:
    name = f"{folder}/data/constants/model_constants_config.json"
    content = json.loads(members[name])
    next(iter(content["config"].values()))["use_pickle"] = True
    members[name] = json.dumps(content).encode()


def custom(members: dict[str, bytes], folder: str) -> None:
    name = f"{folder}/data/constants/model_constants_config.json"
    content = json.loads(members[name])
    next(iter(content["config"].values()))["path_name"] = "opaque_obj_0"
    members[name] = json.dumps(content).encode()


def call(target: str) -> Callable[[dict[str, bytes], str], None]:
    return in_model(lambda content: content["graph_module"]["graph"]["nodes"][0].update(target=target))


def expression(text: str) -> Callable[[dict[str, bytes], str], None]:
    return in_model(lambda content: content["graph_module"]["graph"].update(x={"expr_str": text}))


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes], str], None], str]] = {
    "a call of the system": (call("torch.os.system"), "a call of 'torch.os.system'"),
    "a call of a loader": (call("torch.hub.load"), "a call of"),
    "a call of another library": (call("torch.ops.mylib.run.default"), "a call of"),
    "a call by attribute": (call("_operator.attrgetter"), "a call of"),
    "an import": (expression("__import__('os').system('id')"), "an expression"),
    "a call of Python's": (expression("exec(chr(105))"), "an expression"),
    "an attribute": (expression("Integer(1).__class__"), "an expression"),
    "a guard": (in_model(lambda content: content["guards_code"].append("exec('1')")), "a condition"),
    "pickled constants": (pickled, "pickled"),
    "custom objects": (custom, "pickled"),
    "pickled examples": (lambda m, f: m.update({f"{f}/data/sample_inputs/model.pt": b"\x80"}), "a member"),
    "a member more": (lambda m, f: m.update({f"{f}/data/aotinductor/model/x.so": b"\x7fELF"}), "a member"),
    "old weights": (lambda m, f: m.update({f"{f}/data/weights/model.pt": b"\x80"}), "a member"),
    "a second folder": (lambda m, f: m.update({"other/models/model.json": b"{}"}), "a member"),
    "no model": (lambda m, f: m.pop(f"{f}/models/model.json") and None, "no readable program"),
}


@pytest.mark.parametrize(("change", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_program_that_could_run_code_is_not_loaded(exported: Path, tmp_path: Path, change, words: str):
    """Even under a manifest that fits it: whoever made the whole bundle need not be the operator."""
    folder = Path(shutil.copytree(exported, tmp_path / "bundle"))
    path = folder / archive.FILE
    with zipfile.ZipFile(path) as stream:
        first, members = top(stream), {name: stream.read(name) for name in stream.namelist()}
    change(members, first)
    with zipfile.ZipFile(path, "w") as stream:
        for name, content in members.items():
            stream.writestr(name, content)
    manifest.write(folder)
    with pytest.raises(UserError) as caught:
        archive.load(folder)
    assert str(path) in str(caught.value) and words in str(caught.value)
