"""What the commands of the data print."""

import io
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from foundation.data.__main__ import counts_table, main
from foundation.data.storage import storages
from foundation.run_record import read_run

DECLARATION = """
name: own
synthetic: true
description: Made by a test.
hospitals: [alpha]
dictionary: {genes: [TP53], record: [{name: age, kind: continuous}]}
"""


def test_counts_table_tells_every_modality_apart_on_a_narrow_terminal():
    names = ("patients", *storages())
    packed = {"name": "ours", "synthetic": True, "found": {"riverside": dict.fromkeys(names, 60)}}
    console = Console(file=io.StringIO(), width=60)
    console.print(counts_table(packed))
    assert isinstance(console.file, io.StringIO)
    rows = [line.strip("┃").split("┃") for line in console.file.getvalue().splitlines() if line.startswith("┃")]
    heads = ["".join(part.strip() for part in column) for column in zip(*rows, strict=True)]
    assert heads == ["hospital", *names]


@pytest.mark.parametrize("left", ["no record", "an unfinished one"])
def test_a_preparation_that_was_killed_before_its_record_was_written_is_ended_by_the_next(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sites/alpha").mkdir(parents=True)
    (tmp_path / "sites/alpha/patients.csv").write_text("patient_id\na\nb\n")
    (tmp_path / "sites/alpha/record.csv").write_text("patient_id,age\na,50\nb,60\n")
    (tmp_path / "sites/cohort.yaml").write_text(DECLARATION)
    arguments = ["cohort=folder", "cohort.name=own", f"cohort.root={tmp_path / 'sites'}", f"output={tmp_path / 'out'}"]

    def prepare() -> None:
        monkeypatch.setattr(sys, "argv", ["python -m foundation.data", "prepare", *arguments])
        GlobalHydra.instance().clear()
        main()

    prepare()
    record = read_run(tmp_path / "out")
    path = tmp_path / "out/run.json"
    if left == "no record":
        path.unlink()
    else:
        path.write_text(path.read_text().replace('"finished"', '"failed"'))
    prepare()
    after = read_run(tmp_path / "out")
    assert (after["status"], after["data"], after["notes"]["found"]) == (
        "finished",
        record["data"],
        record["notes"]["found"],
    )
    before = path.read_bytes()
    prepare()
    assert path.read_bytes() == before
    assert "nothing changed since it was prepared" in capsys.readouterr().out
