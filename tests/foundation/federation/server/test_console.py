"""The table of a round."""

import io

import pytest
from rich.console import Console

from foundation.federation.server.console import round_table

MODALITIES = ("pathology", "radiology", "radiology_volumes", "genomics", "report", "record")


def test_round_table_tells_every_modality_apart_on_a_narrow_terminal():
    training = {"riverside": {"samples": dict.fromkeys(MODALITIES, 60), "metrics": {}}}
    facts = {"coverage": {name: {} for name in MODALITIES}, "training": training, "evaluation": {}, "absent": {}}
    console = Console(file=io.StringIO(), width=80)
    console.print(round_table(1, 2, facts))
    assert isinstance(console.file, io.StringIO)
    rows = [line.strip("┃").split("┃") for line in console.file.getvalue().splitlines() if line.startswith("┃")]
    heads = ["".join(part.strip() for part in column) for column in zip(*rows, strict=True)]
    assert heads == ["site", *MODALITIES, "trainloss", "evaluated", "loss", "retrieval", "seconds"]


@pytest.mark.attack
@pytest.mark.parametrize("words", ["[/x] [bold]hello", "[link=https://x]", "[", "\\[/]"])
def test_attack_by_markup_in_a_reason(words: str):
    facts = {"coverage": {}, "training": {}, "evaluation": {}, "absent": {"beta": words, "gamma": "not connected"}}
    console = Console(file=io.StringIO(), width=120)
    console.print(round_table(1, 2, facts))
    assert isinstance(console.file, io.StringIO)
    assert f"beta: {words}" in console.file.getvalue() and "gamma: not connected" in console.file.getvalue()


@pytest.mark.attack
def test_attack_by_retrieval_whose_chance_is_nothing():
    metrics = {"a/r@5": 1.0, "a/chance@5": 0.0, "b/r@5": 0.5, "b/chance@5": 0.1}
    facts = {"coverage": {}, "training": {}, "evaluation": {"beta": metrics}, "absent": {}}
    console = Console(file=io.StringIO(), width=120)
    console.print(round_table(1, 2, facts))
    assert isinstance(console.file, io.StringIO) and "5.0× chance" in console.file.getvalue()
