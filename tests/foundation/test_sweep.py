"""A sweep: a folder a job, one table of all, and a failed job that leaves the others alone."""

import csv
import logging
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from foundation.command import command, plain
from foundation.errors import Stopped, UserError
from foundation.run_output import claim
from foundation.run_record import RunRecord


@pytest.fixture
def sweep(monkeypatch, capsys, tmp_path):
    """Runs a command that notes its seed as a metric, as `-m` would: exit code, stdout, stderr."""

    @command("evaluate")
    def main(cfg: DictConfig) -> None:
        claim(Path(cfg.output), "test", plain(cfg))
        with RunRecord.open(Path(cfg.output), "test", plain(cfg), cfg.seed) as record:
            if cfg.seed == 13:
                raise UserError("seed: 13 brings no luck; give another")
            if cfg.seed == 99:
                raise Stopped("stopped by SIGTERM")
            record.metrics.update({"auc": cfg.seed / 10, "monitor/loss": 1.0, "by": {"a": cfg.resamples}})

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["test", *arguments])
        monkeypatch.chdir(tmp_path)
        GlobalHydra.instance().clear()
        handlers = logging.root.handlers[:]
        try:
            main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            GlobalHydra.instance().clear()
            logging.root.handlers[:] = handlers
        return code, *capsys.readouterr()

    return called


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_job_has_a_folder_and_the_table_names_what_sets_it_apart(sweep, tmp_path):
    code, out, _ = sweep("-m", "run=x", "seed=1,2", "resamples=5,6", "output='all of it'")
    assert code == 0
    table = rows(tmp_path / "all of it" / "sweep.csv")
    assert [list(row.values()) for row in table] == [
        [number, seed, resamples, "finished", row["seconds"], f"{int(seed) / 10}", resamples, "1.0", ""]
        for row, (number, seed, resamples) in zip(
            table, [("0", "1", "5"), ("1", "1", "6"), ("2", "2", "5"), ("3", "2", "6")], strict=True
        )
    ]
    assert list(table[0]) == ["job", "seed", "resamples", "status", "seconds", "auc", "by/a", "monitor/loss", "error"]
    assert "table: all of it/sweep.csv" in out and "resamples" in out
    assert (tmp_path / "all of it" / "3" / "run.json").is_file()


def test_a_failed_job_leaves_the_others_alone(sweep, tmp_path):
    code, _, err = sweep("-m", "run=x", "seed=1,13,3", "output=out")
    assert code == 2
    assert err.splitlines() == [
        "error: job 1: seed: 13 brings no luck; give another",
        "error: out: 1 of 3 jobs failed: 1",
    ]
    table = rows(tmp_path / "out" / "sweep.csv")
    assert [(row["status"], row["auc"]) for row in table] == [("finished", "0.1"), ("failed", ""), ("finished", "0.3")]
    assert table[1]["error"] == "seed: 13 brings no luck; give another"


def test_a_sweep_that_is_told_to_stop_begins_no_further_job(sweep, tmp_path):
    code, _, err = sweep("-m", "run=x", "seed=99,1", "output=out")
    assert (code, err) == (2, "error: stopped by SIGTERM\n")
    assert not (tmp_path / "out" / "1").exists()


def test_a_sweep_is_not_overwritten_unasked(sweep, tmp_path):
    assert sweep("-m", "run=x", "seed=1,2,3", "output=out")[0] == 0
    code, _, err = sweep("-m", "run=x", "seed=4,5", "output=out")
    assert (code, err) == (
        2,
        "error: out: holds a sweep; overwrite=true replaces its jobs, or choose another output=\n",
    )
    assert sweep("-m", "run=x", "seed=4,5", "output=out", "overwrite=true")[0] == 0
    assert [row["seed"] for row in rows(tmp_path / "out" / "sweep.csv")] == ["4", "5"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run=x,y"], "output: follows from what the sweep changes; give output="),
        (["run=x", "output=a,b"], "output: each job of a sweep gets a folder of its own"),
    ],
)
def test_a_sweep_needs_one_folder(sweep, arguments, line):
    code, _, err = sweep("-m", *arguments)
    assert code == 2
    assert err.startswith(f"error: {line}")


def test_a_single_job_of_a_launcher_keeps_its_output(sweep, tmp_path):
    assert sweep("-m", "run=x", "seed=1", "output=out")[0] == 0
    assert (tmp_path / "out" / "run.json").is_file()
    assert not (tmp_path / "out" / "sweep.csv").exists()
