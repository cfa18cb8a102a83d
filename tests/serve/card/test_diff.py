import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from serve.card.build import Inputs
from serve.card.diff import Side, diff
from tests.serve.card.chains import chain
from tests.serve.card.conftest import written
from tests.serve.card.test_check import changed

RUNS, ALWAYS = ("run/finetune", "training"), ("seconds", "core_hours", "energy")


@pytest.fixture
def later(copy: Path) -> Path:
    """A card of a chain in which things changed, written anew from records that agree."""
    for file in ("evaluation.json", "results.json"):
        path = copy / "evaluation" / file
        path.write_text(path.read_text().replace("0.8642", "0.8942").replace("0.8811", "0.8711"))
    changed(copy / "cohort" / "cohort.json", ["flow", 1, "patients"], 170)
    changed(copy / "pretrain" / "ledger.jsonl.head", ["entries"], 101)
    (copy / "card.yaml").write_text("intended_use: Research in 4 hospitals.\n")
    inputs = Inputs((copy / "evaluation",), "demo", "mit", copy / "export", copy / "card.yaml", (copy / "trial",))
    return written(inputs, copy / "card")


def test_what_changed_is_told_by_part(whole: Path, later: Path):
    text = diff(Side.read(whole / "card"), Side.read(later))
    parts = {part.split("\n", 1)[0]: part for part in text.split("\n## ")}
    assert "| 0 / overall / auc | 57 | 0.864 (0.793 – 0.929) | 0.894 (0.793 – 0.929) | +0.030 |" in parts["Results"]
    assert "| 0 / by\\_group / sex / F / auc | 31 | 0.881 (0.780 – 0.970) | 0.871 (0.780 – 0.970) | -0.010 |" in text
    assert "| foundation.data / flow / 1 / patients | 179 | 170 |" in parts["Data"]
    assert "| pretrain.federated / server / ledger / entries | 99 | 101 |" in parts["Federation"]
    said = "| judgement / intended\\_use | Research on gliomas, in 3 hospitals. | Research in 4 hospitals. |"
    assert said in parts["Model and judgement"]
    assert "| judgement / funding | nobody paid | – |" in parts["Model and judgement"]
    assert "Nothing changed." in parts["Training"]


def test_settings_and_runs_that_differ_are_told(whole: Path, tmp_path: Path):
    card = written(Inputs((chain(tmp_path, federated=False),), "demo", "mit"), tmp_path / "card")
    text = diff(Side.read(whole / "card"), Side.read(card))
    assert "| pretrain |  | not run | run |" in text and "| pretrain.federated |  | run | not run |" in text
    changed(tmp_path / "finetune" / "run.json", ["config", "steps"], 8)
    assert "| finetune | steps | 4 | 8 |" in diff(Side.read(whole / "card"), Side.read(card))


def test_a_card_does_not_differ_from_itself(whole: Path):
    side = Side.read(whole / "card")
    text = diff(side, side)
    assert text.count("Nothing changed.") == 5 and "No figure changed." in text
    assert "|" not in text


def test_no_card_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"card\.json: missing; give the folder of a card"):
        Side.read(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda card: card.update(nodes=[]), "'nodes' is a list, no dict"),
        (lambda card: card["nodes"]["result/0/task"].pop("value"), "result/0/task is no statement"),
        (lambda card: card["nodes"]["model/name"].update(text=3), "model/name is no statement"),
        (lambda card: card["nodes"]["model/name"].update(sources=[[]]), "model/name is no statement"),
    ],
)
def test_a_malformed_card_is_refused_in_a_line(copy: Path, spoil: Callable[[Any], Any], words: str):
    path = copy / "card" / "card.json"
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"card\.json: {words}.*give the folder of a card"):
        Side.read(copy / "card")


def test_a_statement_without_a_place_is_compared_all_the_same(copy: Path, whole: Path):
    path = copy / "card" / "card.json"
    content = json.loads(path.read_text())
    content["nodes"]["run/finetune/command"].update(sources=[])
    path.write_text(json.dumps(content))
    assert "No figure changed." in diff(Side.read(whole / "card"), Side.read(copy / "card"))


def test_what_any_two_runs_differ_in_is_no_change():
    one, two = (
        Side({f"{run}/{end}": {"value": value, "text": str(value)} for run in RUNS for end in ALWAYS}, {}, {})
        for value in (1.0, 2.0)
    )
    assert "| statement |" not in diff(one, two)
