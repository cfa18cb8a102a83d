"""The table of a round."""

import io

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
