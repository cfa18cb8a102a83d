"""The command that a timer gives: when a run is due, and that it is alone."""

import fcntl
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from foundation.federation import schedule


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Settings of each run that is begun, of which none ends."""
    begun: list[list[str]] = []
    monkeypatch.setattr(schedule, "run_another", lambda _, settings: begun.append(settings))
    return begun


def looks(monkeypatch: pytest.MonkeyPatch, folder: Path, *settings: str) -> int:
    monkeypatch.setattr(sys, "argv", ["schedule", f"output={folder}", *settings])
    GlobalHydra.instance().clear()
    try:
        schedule.main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_a_look_while_another_runs_begins_nothing(
    runs: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "schedule.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert looks(monkeypatch, tmp_path) == 0
        assert not runs and "not due: a run that another look began is going on" in capsys.readouterr().out
    assert looks(monkeypatch, tmp_path) == 0
    assert f"output={tmp_path / '0001'}" in runs[0]


@pytest.mark.parametrize("days", ["-1", ".nan", ".inf", "soon"])
def test_days_that_are_none_are_one_line(
    days: str,
    runs: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert looks(monkeypatch, tmp_path, f"every_days={days}") == 2
    assert "error: every_days: found " in capsys.readouterr().err and not runs
