"""Locks of builds: the dead's are removed, the living's are not, and shared ones are named."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.file_baton import FileBaton

from foundation.engine import extension_locks
from foundation.engine.extension_locks import clear_dead_locks, watched_locks
from foundation.errors import UserError


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    path.parent.mkdir(parents=True)
    return path


def test_a_lock_whose_builder_was_killed_is_removed_and_named(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = "import os, sys; from torch.utils.file_baton import FileBaton"
    text += "; assert FileBaton(sys.argv[1]).try_acquire(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", text, str(lock)], check=False)
    assert lock.exists()
    clear_dead_locks(tmp_path)
    assert not lock.exists()
    assert capsys.readouterr().err.startswith(f"{lock}: left by a build that was killed; removed")


def test_a_lock_of_a_build_under_way_stays_and_its_process_is_named(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = "import sys; file = open(sys.argv[1], 'x'); print('locked', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", text, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as builder:
        assert builder.stdout is not None and builder.stdout.readline() == "locked\n"
        clear_dead_locks(tmp_path)
        builder.communicate("")
    assert lock.exists()
    expected = f"{lock}: waiting for process {builder.pid}, which builds this extension\n"
    assert capsys.readouterr().err == expected


def test_a_lock_that_another_machine_may_hold_is_left_to_its_owner(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lock.touch()
    monkeypatch.setattr(extension_locks, "_file_system", lambda path: "nfs4")
    with pytest.raises(UserError, match=r"by no process that can be seen here; another machine or user may"):
        clear_dead_locks(tmp_path)
    assert lock.exists()


def test_a_lock_whose_builder_is_killed_while_it_is_waited_for_is_removed(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = "import sys; file = open(sys.argv[1], 'x'); print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", text, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None and builder.stdout.readline() == "locked\n"
        with watched_locks(tmp_path):
            builder.kill()
            FileBaton(str(lock)).wait()
    assert not lock.exists()
    assert f"{lock}: left by a build that was killed; removed" in capsys.readouterr().err
