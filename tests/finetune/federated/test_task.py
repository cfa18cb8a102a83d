"""A head trained across hospitals: its rounds, its folder, and who may read it."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from finetune.predictor import TaskModel
from foundation.federation.ledger import verify
from foundation.federation.runtime.command import federate
from tests.finetune.federated.conftest import SITES, Configure

COMMAND = "python -m finetune.federated"


@pytest.mark.parametrize("frozen", [True, False])
def test_head_learns_across_hospitals_and_becomes_a_task_model(configured: Configure, tmp_path: Path, frozen: bool):
    output = tmp_path / "run"
    federate(configured(f"frozen={frozen}".lower()), COMMAND)
    before, after = (load_file(output / "rounds" / f"round_000{number}.safetensors") for number in (1, 2))
    assert any((before[name] != after[name]).any() for name in before if name.startswith("head.score"))
    assert frozen == all(name.startswith("head.") for name in after)
    lines = json.loads((output / "history.json").read_text())["rounds"]
    assert [line["absent"] for line in lines] == [{}, {}]
    assert set(lines[0]["coverage"]["head"]) == set(SITES)
    assert set(lines[1]["evaluation"]) == {*SITES, "summit"}
    assert {"auc", "loss", "patients"} <= set(lines[1]["evaluation"]["summit"])
    if not frozen:
        assert set(lines[0]["coverage"]["genomics"]) == {"riverside", "lakeview"}
    model = TaskModel.load(output)
    for name, value in model.head.state_dict().items():
        assert (value == after[f"head.{name}"]).all()
    for path in (output / "ledger.jsonl", *(output / "sites" / site / "ledger.jsonl" for site in SITES)):
        assert verify(path) == []
