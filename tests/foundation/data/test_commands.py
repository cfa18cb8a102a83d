"""What the commands of the data print."""

import io

from rich.console import Console

from foundation.data.__main__ import counts_table
from foundation.data.storage import storages


def test_counts_table_tells_every_modality_apart_on_a_narrow_terminal():
    names = ("patients", *storages())
    packed = {"name": "ours", "synthetic": True, "found": {"riverside": dict.fromkeys(names, 60)}}
    console = Console(file=io.StringIO(), width=60)
    console.print(counts_table(packed))
    assert isinstance(console.file, io.StringIO)
    rows = [line.strip("┃").split("┃") for line in console.file.getvalue().splitlines() if line.startswith("┃")]
    heads = ["".join(part.strip() for part in column) for column in zip(*rows, strict=True)]
    assert heads == ["hospital", *names]
