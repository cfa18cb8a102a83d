import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from foundation import run_record
from foundation.errors import UserError
from foundation.run_record import RunRecord, keep_records, read_run, walk


def test_records_link_back(tmp_path: Path):
    with RunRecord.open(tmp_path / "first", "python -m first", {"a": 1}, seed=3) as record:
        record.metrics["loss"] = 0.5
    with RunRecord.open(tmp_path / "second", "python -m second", {}, 3, builds_on=[tmp_path / "first"]):
        assert read_run(tmp_path / "second")["status"] == "running"
    found = walk(tmp_path / "second")
    assert [run.content["command"] for run in found] == ["python -m second", "python -m first"]
    assert found[1].content["metrics"] == {"loss": 0.5}
    assert found[1].content["status"] == "finished"
    assert found[1].file == tmp_path / "first" / "run.json"


@pytest.mark.parametrize("output", ["taken", "taken/within"])
def test_an_output_that_is_a_file_is_named(tmp_path: Path, output: str):
    (tmp_path / "taken").write_text("a file")
    words = rf"output: {tmp_path / output}: no folder \(.+\); choose another one"
    with pytest.raises(UserError, match=words), RunRecord.open(tmp_path / output, "python -m first", {}, 0):
        pass


def test_a_changed_parent_breaks_the_chain(tmp_path: Path):
    with RunRecord.open(tmp_path / "first", "first", {}, 0):
        pass
    with RunRecord.open(tmp_path / "second", "second", {}, 0, builds_on=[tmp_path / "first"]):
        pass
    record = tmp_path / "first" / "run.json"
    record.write_text(record.read_text().replace("finished", "FINISHED"))
    with pytest.raises(UserError, match="changed since"):
        walk(tmp_path / "second")


def test_runs_go_on_building_on_what_a_cohort_was_before_it_grew(tmp_path: Path):
    cohort = tmp_path / "cohort"
    for name in ("one", "two", "three"):
        if name != "one":  # replaced whole, as growth does
            (tmp_path / "grown").mkdir()
            keep_records(cohort, tmp_path / "grown")
            shutil.rmtree(cohort)
            (tmp_path / "grown").rename(cohort)
        with RunRecord.open(cohort, name, {}, 0):
            pass
        with RunRecord.open(tmp_path / name, "run", {}, 0, builds_on=[cohort]):
            pass
    assert [walk(tmp_path / name)[1].content["command"] for name in ("one", "two", "three")] == ["one", "two", "three"]
    kept = walk(tmp_path / "one")[1].file
    assert kept.parent.parent == walk(tmp_path / "one")[1].folder == cohort
    kept.write_text(kept.read_text().replace("finished", "FINISHED"))
    with pytest.raises(UserError, match="changed since"):
        walk(tmp_path / "one")


def test_a_failed_run_says_so(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), RunRecord.open(tmp_path, "x", {}, 0):
        _ = 1 / 0
    assert read_run(tmp_path)["status"] == "failed"


def test_gpus_are_those_of_the_driver_where_pytorch_was_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in (("0000:01:00.0", "NVIDIA H100 80GB HBM3"), ("0000:02:00.0", "Tesla T4")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 44\n")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert run_record._gpus(tmp_path) == ["NVIDIA H100 80GB HBM3", "Tesla T4"]
    assert run_record._gpus(tmp_path / "none") == []
    cuda = SimpleNamespace(device_count=lambda: 1, get_device_name=lambda index: f"seen {index}")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert run_record._gpus(tmp_path) == ["seen 0"]
