"""What goes wrong in a federation of real processes: each fault ends in a finished run or in one clear error."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.foundation.federation.broken_sites import ALL, Federation, check_books, one_error, rounds_of, started
from tests.foundation.federation.deployed_sites import PATIENCE, command, final, run, same, until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(1800)]

THREE = f"sites=[{','.join(ALL)}]"


@pytest.fixture(scope="module")
def running(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    found = Federation(tmp_path_factory.mktemp("faults") / "federation", small_cohort)
    found.build()
    try:
        until(lambda: found.online(*ALL))
        yield found
    finally:
        for name in list(found.processes):
            found.kill(name, signal.SIGTERM)
        found.cable.close()


@pytest.fixture(autouse=True)
def calm(running: Federation) -> Iterator[None]:
    """No plan outlives its test."""
    yield
    for site in ALL:
        running.plan(site, {})


@pytest.fixture(scope="module")
def undisturbed(running: Federation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    done = run(running.deployed(output))
    assert done.returncode == 0, done.stderr[-3000:] + running.log("server")[-3000:]
    check_books(running, output)
    return output


# By round of one run: what goes wrong at northgate, and the reason that the run's history keeps.
AT_A_SITE = {
    "NaN": "update refused: northgate: encoder.fusion.patient: NaN in the update",
    "wrong shape": r"update refused: northgate: encoder.fusion.patient: shape \(128,\), \(64,\) expected",
    "exploding": "update refused: northgate: .* times as long as the other sites' median",
    "arrays cut": "update refused: message: its arrays cannot be read",
    "arrays garbled": "update refused: message: its arrays cannot be read",
    "empty answer": "answer refused: message: answers another order than this one",
    "training fails": "the node failed: MemoryError at the site; its log has the details",
    "policy forbids": "declined: policy: tasks: 'pretrain' is not allowed here",
    "policy damaged": "declined: .*policy.yaml: not readable as YAML",
    "disk full for the ledger": r"declined: .*ledger.jsonl: entry not written \(File too large\); make room",
    "disk full for the state": "declined: site northgate: round not kept: .*File too large",
    "state damaged": "declined: .*rank_0.safetensors: not readable",
    "data gone": "declined: .*cohort: no cohort.json",
    "data damaged": "declined: .*patients.parquet: not readable",
    "ledger changed": r"declined: .*ledger.jsonl: entry \d+: its content and its hash disagree",
}


@pytest.fixture(scope="module")
def patient_run(running: Federation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over three hospitals, at one of which something else goes wrong each round but the first and the last."""
    output = tmp_path_factory.mktemp("patient") / "run"
    running.plan("northgate", dict(enumerate(AT_A_SITE, 2)))
    last = len(AT_A_SITE) + 2
    settings = [THREE, "quorum=0.6", f"rounds={last}", "keep_optimizer=true", "steps_per_round=1"]
    done = run(running.deployed(output, *settings))
    running.plan("northgate", {})
    assert done.returncode == 0, done.stderr[-3000:] + running.log("server")[-3000:]
    assert [len(line["training"]) for line in rounds_of(output)] == [3, *[2] * len(AT_A_SITE), 3]
    check_books(running, output)
    return output


@pytest.mark.parametrize("fault", AT_A_SITE)
def test_a_fault_at_a_site_costs_it_that_round(fault: str, patient_run: Path):
    line = rounds_of(patient_run)[1 + list(AT_A_SITE).index(fault)]
    assert set(line["absent"]) == {"northgate"}
    assert re.search(AT_A_SITE[fault], line["absent"]["northgate"])
    assert set(line["training"]) == {"riverside", "lakeview"}


def test_verify_names_the_entry_that_was_changed(running: Federation, patient_run: Path):
    changed = running.home("northgate") / "changed.ledger.jsonl"
    done = run(command("foundation.federation.ledger", "verify", f"ledgers=[{changed}]"))
    assert done.returncode == 2
    assert re.search(r"changed.ledger.jsonl: entry \d+: its content and its hash disagree", one_error(done.stderr))


def test_sites_join_late_leave_and_come_back(running: Federation, tmp_path: Path):
    running.leave("lakeview")
    running.plan("riverside", dict.fromkeys((1, 2, 3, 4), "held"))
    output, log = tmp_path / "run", tmp_path / "log.txt"
    settings = [THREE, "quorum=0.3", "rounds=5", "join_seconds=3", "steps_per_round=1"]
    with started(running.deployed(output, *settings), log) as done:
        running.await_hold("riverside")
        running.join("lakeview")
        until(lambda: running.online("lakeview"))
        sent = running.updates("northgate")
        running.let_go("riverside")
        running.await_hold("riverside")
        until(lambda: running.updates("northgate") > sent)
        running.leave("northgate")
        running.let_go("riverside")
        running.await_hold("riverside")
        running.join("northgate")
        until(lambda: running.online("northgate"))
        running.let_go("riverside")
        running.await_hold("riverside")
        running.let_go("riverside")
        assert done.wait(PATIENCE) == 0, log.read_text()[-3000:]
    rounds = rounds_of(output)
    assert rounds[0]["absent"]["lakeview"] == "not connected"
    assert "lakeview" in rounds[1]["training"]
    assert rounds[2]["absent"]["northgate"] == "not connected"
    assert set(rounds[3]["training"]) == set(rounds[4]["training"]) == set(ALL)
    check_books(running, output)


def test_too_few_sites_for_a_round_are_one_error_with_the_reason_of_each(running: Federation, tmp_path: Path):
    running.plan("northgate", {1: "policy forbids"})
    running.plan("lakeview", {1: "NaN"})
    done = run(running.deployed(tmp_path / "run", THREE, "quorum=0.6"))
    assert done.returncode == 2
    said = one_error(done.stderr)
    assert "round 1: 1 of 3 sites gave an update, 2 are needed" in said
    assert "northgate: declined: policy: tasks: " in said and "lakeview: update refused: lakeview: " in said
    assert rounds_of(tmp_path / "run") == []
    check_books(running, tmp_path / "run")


def command_killed(running: Federation, process: "subprocess.Popen[bytes]") -> None:
    process.kill()


def command_told_to_stop(running: Federation, process: "subprocess.Popen[bytes]") -> None:
    process.terminate()


def server_process_killed(running: Federation, process: "subprocess.Popen[bytes]") -> None:
    running.server_process().kill()


def disk_full(running: Federation, process: "subprocess.Popen[bytes]") -> None:
    """No file of the run's server process may grow beyond what notes and ledger need."""
    running.server_process().rlimit(psutil.RLIMIT_FSIZE, (100_000, 100_000))


# In the middle of the second round: what happens, and how the command ends.
INTERRUPTIONS: dict[str, tuple[Callable[[Federation, "subprocess.Popen[bytes]"], None], int, str]] = {
    "command killed": (command_killed, -signal.SIGKILL, ""),
    "command told to stop": (command_told_to_stop, 2, "stopped; go on with resume=true"),
    "server process killed": (server_process_killed, 2, "run \\d+: "),
    "disk full at the server": (disk_full, 2, "cannot be written .*; make room, then go on with resume=true"),
}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(
    interruption: str, running: Federation, undisturbed: Path, tmp_path: Path
):
    act, code, said = INTERRUPTIONS[interruption]
    output, log = tmp_path / "run", tmp_path / "log.txt"
    running.plan("riverside", {2: "held"})
    with started(running.deployed(output), log) as process:
        running.await_hold("riverside")
        act(running, process)
        if act is not disk_full:
            assert process.wait(PATIENCE) == code, log.read_text()[-3000:]
        running.let_go("riverside")
        assert process.wait(PATIENCE) == code, log.read_text()[-3000:]
    assert code < 0 or re.search(said, one_error(log.read_text()))
    before = rounds_of(output)
    assert len(before) == 1
    check_books(running, output)
    running.plan("riverside", {})
    done = run(running.deployed(output, "resume=true"))
    assert done.returncode == 0, done.stderr[-3000:] + running.log("server")[-3000:]
    assert rounds_of(output)[:1] == before
    assert same(final(output), final(undisturbed))
    check_books(running, output)


DAMAGES = {
    "checkpoint cut": ("rounds/round_0002.safetensors", "not readable as weights .*; restore it from a copy, or take"),
    "history cut": ("history.json", "history.json: not readable .*; restore it, or drop resume=true"),
    "model cut": ("rounds/model.json", "model.json: not readable .*; restore it, or drop resume=true"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_run_is_one_error(damage: str, running: Federation, undisturbed: Path, tmp_path: Path):
    name, said = DAMAGES[damage]
    output = tmp_path / "run"
    shutil.copytree(undisturbed, output)
    path = output / name
    path.write_bytes(path.read_bytes()[:-100])
    done = run(running.deployed(output, "resume=true"))
    assert done.returncode == 2, done.stdout
    assert re.search(said, one_error(done.stderr))


def test_a_lost_checkpoint_is_made_again_from_the_one_before(running: Federation, undisturbed: Path, tmp_path: Path):
    output = tmp_path / "run"
    shutil.copytree(undisturbed, output)
    (output / "rounds" / "round_0002.safetensors").write_bytes(b"")
    history = json.loads((output / "history.json").read_text())
    history["rounds"].pop()
    (output / "history.json").write_text(json.dumps(history))
    done = run(running.deployed(output, "resume=true"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert same(final(output), final(undisturbed))


def test_a_short_cut_of_the_network_costs_nothing(running: Federation, undisturbed: Path, tmp_path: Path):
    output, log = tmp_path / "run", tmp_path / "log.txt"
    running.plan("northgate", {1: "held"})
    with started(running.deployed(output), log) as process:
        running.await_hold("northgate")
        running.cable.pull()
        running.let_go("northgate")
        time.sleep(5)
        running.cable.plug()
        assert process.wait(PATIENCE) == 0, log.read_text()[-3000:]
    assert [line["absent"] for line in rounds_of(output)] == [{}, {}]
    assert same(final(output), final(undisturbed))
    check_books(running, output)


def test_a_network_that_is_cut_beyond_the_deadline_costs_its_site_the_round(running: Federation, tmp_path: Path):
    output, log = tmp_path / "run", tmp_path / "log.txt"
    running.plan("northgate", {1: "held"})
    with started(running.deployed(output, "deadline=15", "quorum=0.5", "rounds=3"), log) as process:
        running.await_hold("northgate")
        running.cable.pull()
        running.let_go("northgate")
        until(lambda: rounds_of(output))
        running.cable.plug()
        assert process.wait(PATIENCE) == 0, log.read_text()[-3000:]
    assert re.search("no answer in 15 s|Message Unavailable", rounds_of(output)[0]["absent"]["northgate"])
    check_books(running, output)
    until(lambda: running.online("northgate"))
