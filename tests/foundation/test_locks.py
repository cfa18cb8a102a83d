"""Locks between processes; one that is opened twice in a process stands for two."""

import subprocess
import sys
import threading
from pathlib import Path

from foundation.locks import alone, in_turn

_HOLDS = "import sys, pathlib, foundation.locks as l, time\nwith l.alone(pathlib.Path(sys.argv[1])):\n"
_HOLDS += " print('held', flush=True)\n time.sleep(60)\n"


def test_one_holds_it_and_the_next_once_it_is_given_back(tmp_path: Path):
    path = tmp_path / "made" / ".lock"
    with alone(path) as first, alone(path) as second:
        assert (first, second) == (True, False)
    with alone(path) as third:
        assert third


def test_others_wait_their_turn(tmp_path: Path):
    path, order = tmp_path / ".lock", []

    def wait() -> None:
        with in_turn(path):
            order.append("second")

    other = threading.Thread(target=wait)
    with in_turn(path):
        other.start()
        other.join(0.05)
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]


def test_it_goes_with_a_process_that_is_killed(tmp_path: Path):
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", _HOLDS, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with alone(path) as mine:
            assert not mine
        process.kill()
    with alone(path) as mine:
        assert mine
