"""The state of a run, while it goes on and when it does not any more."""

import configparser
import fcntl
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict
from omegaconf import OmegaConf

from foundation.errors import UserError
from foundation.federation.status.__main__ import main as status_command
from foundation.federation.status.state import RunState, read_state
from foundation.federation.status.text import as_prometheus, in_words
from foundation.federation.wire.messages import Decline, Order, pack_decline
from foundation.run_record import RunRecord
from tests.foundation.federation.stub_sites import SITES, PatchyGrid, Stubs, begin, config, run

ROOT = Path(__file__).resolve().parents[4]


def declines(order: Order) -> RecordDict:
    return pack_decline(
        Decline("", "policy: plan: p-1a2b awaits this hospital's approval (consilium federation plans)")
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two of four rounds, in the first of which beta declined and in the second everybody answered."""
    cfg = config(tmp_path, rounds=2, quorum=0.75)
    stubs = Stubs({"beta": declines})
    run(cfg, PatchyGrid(stubs.app), begin(tmp_path))
    deployed(tmp_path, {"run": 1})
    return tmp_path


def deployed(folder: Path, state: dict[str, Any], **settings: Any) -> None:
    (folder / "deployment").mkdir(exist_ok=True)
    OmegaConf.save(config(folder, rounds=4, **settings), folder / "deployment" / "config.yaml")
    (folder / "deployment" / "run.json").write_text(json.dumps(state))


def words(state: RunState, now: datetime | None = None) -> str:
    return in_words(state, now)


def test_a_run_that_goes_on_tells_sites_rounds_and_what_is_next(folder: Path):
    deployed(folder, {"run": 1}, deadline=600)
    with (folder / "deployment" / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = read_state(folder, {"alpha": "online", "beta": "offline"})
    assert (state.phase, state.round, state.rounds) == ("running", 2, 4)
    assert state.deadline is not None and [site.name for site in state.sites] == SITES
    text = words(state, state.deadline - timedelta(seconds=90))
    assert "2 of 4 rounds" in text and "(in 90 s)" in text
    assert re.search(r"alpha +online, evaluation, round 2: answered; 4 answers", text)
    assert re.search(r"beta +offline, evaluation, round 2: answered; 2 answers", text)
    assert "last error: policy: plan: p-1a2b awaits this hospital's approval" in text
    assert text.splitlines()[-1] == f"next: consilium federation status run={folder}"
    assert "(over by 5 s)" in words(state, state.deadline + timedelta(seconds=5))


def test_the_last_error_is_the_latest_absence_not_an_earlier_refusal(folder: Path):
    history = json.loads((folder / "history.json").read_text())
    history["rounds"].append({**history["rounds"][-1], "absent": {"beta": "no answer in 600 s"}})
    (folder / "history.json").write_text(json.dumps(history))
    errors = {site.name: site.last_error for site in read_state(folder).sites}
    assert errors["beta"] == "no answer in 600 s"


def test_a_server_process_that_was_killed_is_told_with_the_next_command(folder: Path):
    (folder / "deployment" / "server.lock").touch()
    state = read_state(folder)
    assert (state.phase, state.deadline) == ("killed", None)
    assert "cause: the run's server process is gone, and said nothing" in words(state)
    assert words(state).splitlines()[-1].endswith(f"output={folder} resume=true")


@pytest.mark.parametrize(
    ("status", "process", "phase"),
    [
        ("running", {}, "running"),
        ("running", {"created": 1.0}, "killed"),
        ("running", {"host": "elsewhere", "created": 1.0}, "running"),
        ("failed", {}, "failed"),
    ],
)
def test_a_simulation_stands_as_its_process_does(tmp_path: Path, status: str, process: dict[str, Any], phase: str):
    (tmp_path / "sites").mkdir()
    OmegaConf.save(config(tmp_path, rounds=4), tmp_path / "sites" / "config.yaml")
    with RunRecord.open(tmp_path, "python -m pretrain.federated", {}, 0):
        pass
    record = json.loads((tmp_path / "run.json").read_text())
    changed = {**record, "status": status, "process": {**record["process"], **process}}
    (tmp_path / "run.json").write_text(json.dumps(changed))
    state = read_state(tmp_path)
    assert state.phase == phase
    assert state.advice.endswith("resume=true") == (phase != "running")


def test_a_run_that_failed_repeats_its_own_line(folder: Path):
    line = "round 3: 2 of 4 sites gave an update, 3 are needed (beta: not connected); go on with resume=true"
    deployed(folder, {"run": 1, "ended": True, "failure": line})
    state = read_state(folder)
    assert state.phase == "failed" and f"cause: {line}" in words(state)


def test_a_run_that_ended_is_finished_and_one_without_a_round_has_not_begun(folder: Path, tmp_path: Path):
    OmegaConf.save(config(folder, rounds=2), folder / "deployment" / "config.yaml")
    (folder / "deployment" / "run.json").write_text('{"run": 1, "ended": true, "failure": null}')
    assert read_state(folder).phase == "finished"
    other = tmp_path / "other"
    (other / "sites").mkdir(parents=True)
    OmegaConf.save(config(other), other / "sites" / "config.yaml")
    state = read_state(other)
    assert state.phase == "not begun" and {site.doing for site in state.sites} == {"was not asked yet"}
    with pytest.raises(UserError, match="holds no federated run"):
        read_state(tmp_path / "nothing")


def test_prometheus_reads_every_line(folder: Path):
    deployed(folder, {"run": 1}, deadline=600)
    state = read_state(folder, dict.fromkeys(SITES, "online"))
    lines = as_prometheus(state).splitlines()
    sample = re.compile(r'[a-z_]+\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\} [0-9.e+-]+')
    assert all(line.startswith("#") or sample.fullmatch(line) for line in lines), lines
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    name = f'run="{folder}"'
    assert values[f"consilium_federation_rounds_finished{{{name}}}"] == "2"
    assert values[f'consilium_federation_site_error{{{name},site="beta"}}'] == "1"
    assert values[f'consilium_federation_site_online{{{name},site="alpha"}}'] == "1"
    assert sum(float(value) for key, value in values.items() if "_phase{" in key) == 1


def test_the_command_prints_or_writes_and_its_code_says_whether_somebody_is_needed(folder: Path, monkeypatch, capsys):
    def typed(*settings: str) -> None:
        monkeypatch.setattr("sys.argv", ["status", *settings])
        status_command()

    typed(f"run={folder}")
    assert "2 of 4 rounds" in capsys.readouterr().out
    typed(f"run={folder}", "format=prometheus", f"output={folder / 'c.prom'}")
    assert "consilium_federation_rounds_planned" in (folder / "c.prom").read_text()
    deployed(folder, {"run": 1, "ended": True, "failure": "x"})
    with pytest.raises(SystemExit) as ended:
        typed(f"run={folder}")
    assert ended.value.code == 1


@pytest.mark.parametrize("unit", sorted((ROOT / "scripts/federation/systemd").iterdir()), ids=lambda path: path.name)
def test_units_of_systemd_can_be_read_and_start_what_is_written(unit: Path):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit.read_text())
    assert parser.has_option("Unit", "Description")
    if unit.suffix == ".service":
        start = parser["Service"]["ExecStart"]
        assert "start.sh" in start or "foundation.federation.status" in start
