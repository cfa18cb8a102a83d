"""The writer of a ledger: what an entry is, and what a crash leaves."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.federation.ledger import Ledger, verify
from foundation.federation.ledger.chain import head_path
from foundation.federation.ledger.entry import GENESIS
from foundation.federation.ledger.files import load
from tests.foundation.federation.ledger.ledgers import (
    epsilon_of,
    kinds,
    lines_of,
    rounds,
)


def test_an_entry_is_a_canonical_line_that_names_the_hash_of_the_one_before(path: Path):
    ledger = Ledger.open(path, "riverside")
    rounds(ledger, 1)
    lines = path.read_bytes().splitlines()
    contents = [json.loads(line) for line in lines]
    assert (contents[0]["owner"], contents[0]["role"]) == ("riverside", "site")
    assert contents[0]["previous"] == GENESIS
    for before, after, line in zip(contents, contents[1:], lines[1:], strict=False):
        assert after["previous"] == before["hash"]
        assert line == json.dumps(after, sort_keys=True, separators=(",", ":")).encode()
    update = contents[2]
    assert update["norms"] == {"fusion": 0.5, "pathology": None}
    assert (update["direction"], update["kind"], update["size"], update["samples"]) == (
        "out",
        "update",
        25,
        {"fusion": 9, "pathology": 4},
    )
    assert verify(path) == []
    assert ledger.head == update["hash"]
    assert [entry.index for entry in ledger.entries()] == [0, 1, 2]
    for file in (path, head_path(path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_ledger_goes_on_where_it_ended_and_is_one_owners(path: Path):
    rounds(Ledger.open(path, "riverside"), 1)
    rounds(Ledger.open(path, "riverside"), 1, start=2)
    assert [entry.round for entry in load(path).entries] == [None, 1, 1, 2, 2]
    assert verify(path) == []
    with pytest.raises(UserError, match="is the ledger of site riverside, not of site northgate"):
        Ledger.open(path, "northgate")
    with pytest.raises(UserError, match="is the ledger of site riverside, not of server riverside"):
        Ledger.open(path, "riverside", "server")


def test_a_ledger_that_others_could_read_is_closed_to_them(path: Path):
    Ledger.open(path, "riverside")
    path.chmod(0o644)
    Ledger.open(path, "riverside")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"note": "two\nlines"}, "note"),
        ({"note": "x" * 301}, "note"),
        ({"run": "a\x00b"}, "run"),
        ({"digest": "abc"}, "digest"),
        ({"samples": {"fusion": -1}}, "samples.fusion"),
        ({"epsilon": float("inf")}, "epsilon"),
        ({"patient": "P1"}, "patient"),
        ({"weights": [0.5]}, "weights"),
    ],
)
def test_there_is_no_room_for_anything_else(path: Path, facts: dict, field: str):
    ledger = Ledger.open(path, "riverside")
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"{path.name}: {field}: .*a ledger holds no such"):
        ledger.append("note", None, **facts)
    assert path.read_bytes() == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 500), behind=st.booleans())
def test_a_half_written_entry_is_removed_and_that_is_noted(tmp_path, cut, behind):
    path = tmp_path / f"{time.monotonic_ns()}" / "ledger.jsonl"
    ledger = Ledger.open(path, "riverside")
    rounds(ledger, 1)
    if behind:  # killed between the line and the head file: one finished entry that the head does not know
        head = head_path(path).read_bytes()
        rounds(ledger, 1, start=2)
        head_path(path).write_bytes(head)
    whole = path.read_bytes()
    torn = lines_of(whole)[-1].replace(b"\n", b"")[:cut]
    path.write_bytes(whole + torn)
    assert kinds(verify(path)) == {"unfinished"}
    assert epsilon_of(path) == pytest.approx(0.2 if behind else 0.1)
    again = Ledger.open(path, "riverside")
    notes = [entry.note for entry in again.entries() if entry.kind == "recovered"]
    assert len(notes) == 1 + behind
    assert f"removed an unfinished line of {len(torn)} bytes" in notes[0]
    assert not behind or "had not counted the last 2 entries" in notes[1]
    assert path.read_bytes().startswith(whole)
    assert verify(path) == []


def test_a_crash_before_the_first_entry_was_whole(path: Path):
    Ledger.open(path, "riverside")
    first = path.read_bytes()
    head_path(path).unlink()
    assert verify(path) == []  # killed before the first head file: nothing can have been cut
    path.write_bytes(first[:50])
    ledger = Ledger.open(path, "riverside")
    assert [entry.kind for entry in ledger.entries()] == ["opened", "recovered"]
    assert verify(path) == []


WRITER = """
import sys
from pathlib import Path
from foundation.federation.ledger import Ledger
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger.open(path, "riverside")
for number in range(count):
    while number == count // 2 and all(entry.run in ("", name) for entry in ledger.entries()):
        pass  # until the other has written, too: so that they do write at once
    ledger.append("update", "out", run=name, round=number, peer="server", size=7, epsilon=0.1 * (number + 1))
    print(number, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.process
def test_two_processes_take_turns(path: Path):
    processes = [writer(path, name, 60) for name in ("a", "b")]
    for process in processes:
        go(process)
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert verify(path) == []
    entries = load(path).entries
    for name in ("a", "b"):
        assert [entry.round for entry in entries if entry.run == name] == list(range(60))
    runs = [entry.run for entry in entries]
    assert runs != sorted(runs), "they wrote at once"
    assert epsilon_of(path) == pytest.approx(12.0)
    assert epsilon_of(path, "a") == pytest.approx(6.0)


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from foundation.federation.ledger import Ledger
path, kills, said = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
acknowledged = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
draw = random.Random(0)
for turn in range(kills):
    before = os.fstat(acknowledged).st_size
    child = os.fork()
    if child == 0:
        ledger = Ledger.open(path, "riverside")
        while True:
            entry = ledger.append("update", "out", run=str(turn), peer="server", size=7, note="x" * 200)
            os.write(acknowledged, entry.hash.encode() + b"\\n")
    while os.fstat(acknowledged).st_size < before + 65 * 5:
        time.sleep(0.001)
    time.sleep(draw.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
Ledger.open(path, "riverside")
"""


@pytest.mark.process
def test_a_writer_killed_again_and_again_loses_nothing_that_it_acknowledged(path: Path, tmp_path: Path):
    said = tmp_path / "acknowledged"
    arguments = [sys.executable, "-c", KILLED, str(path), "40", str(said)]
    done = subprocess.run(arguments, cwd=Path(__file__).parents[4], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert verify(path) == []
    hashes = [entry.hash for entry in load(path).entries]
    acknowledged = said.read_text().split()
    assert len(acknowledged) >= 40 * 5
    assert set(acknowledged) <= set(hashes)
    assert sorted(acknowledged, key=hashes.index) == acknowledged


FULL = """
import resource, sys
from pathlib import Path
from foundation.errors import UserError
from foundation.federation.ledger import Ledger
path = Path(sys.argv[1])
ledger = Ledger.open(path, "riverside")
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 900, resource.RLIM_INFINITY))
try:
    while True:
        ledger.append("update", "out", run="r", peer="server", size=7)
except UserError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.append("note", note="there is room again")
"""


@pytest.mark.process
def test_an_entry_that_finds_no_room_leaves_nothing_behind(path: Path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], cwd=Path(__file__).parents[4], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"{path}: entry not written (File too large); make room, then try again\n"
    assert verify(path) == []
    entries = load(path).entries
    assert entries[-1].note == "there is room again"
    assert {entry.kind for entry in entries} == {"opened", "update", "note"}
