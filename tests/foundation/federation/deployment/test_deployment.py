"""A federation of real processes: TLS, a key a site, refusals, a SuperLink that is killed, the same weights."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from foundation.federation.deployment.pki import write_authority, write_node_key
from tests.foundation.federation.deployed_sites import (
    PATIENCE,
    SITES,
    Running,
    command,
    final,
    free_port,
    last_error,
    run,
    same,
    until,
)

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def running(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(tmp_path_factory.mktemp("deployment") / "federation", small_cohort)
    found.provision(*SITES, "lakeview")
    for name in ("server", *SITES):
        found.start(name)
    try:
        until(lambda: found.online(*SITES))
        yield found
    finally:
        for name in list(found.processes):
            found.kill(name, signal.SIGTERM)


@pytest.fixture(scope="module")
def finished(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("deployed") / "run"
    done = run(running.deployed(output))
    assert done.returncode == 0, done.stderr[-3000:] + running.log("server")[-3000:]
    return output


def test_results_lie_in_output_as_in_simulation(finished: Path):
    rounds = json.loads((finished / "history.json").read_text())["rounds"]
    assert [line["round"] for line in rounds] == [1, 2]
    for line in rounds:
        assert set(line["training"]) == set(line["evaluation"]) == set(SITES)
        assert line["absent"] == {}
    assert (finished / "encoder" / "model.safetensors").is_file()


def test_the_same_run_in_simulation_gives_the_same_weights(running: Running, finished: Path, tmp_path: Path):
    done = run(running.pretrain(tmp_path / "run", "federation=simulation"))
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = final(finished), final(tmp_path / "run")
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_no_code_reached_the_site(running: Running, finished: Path):
    assert not list((running.folder / "sites").rglob("state/flower/apps")), "nothing was installed from the bundle"
    bundles = list((running.folder / "server" / "state" / "flower" / "apps").rglob("*.py"))
    assert bundles == []


def test_sites_decline_a_run_of_another_release(running: Running, tmp_path: Path):
    other = "import foundation.federation.runtime.deployed as d; d.installed_release = lambda: '9.9.9'"
    start = "from pretrain.federated.__main__ import main; main()"
    settings = running.deployed(tmp_path / "run")[3:]
    done = run([sys.executable, "-c", f"{other}; {start}", *settings])
    assert done.returncode == 2, done.stderr[-3000:]
    assert "names release 9.9.9, and" in last_error(done.stderr)
    assert not (tmp_path / "run" / "history.json").exists()


def test_an_unknown_key_is_refused(running: Running, tmp_path: Path):
    home = running.home("riverside")
    write_node_key(tmp_path / "node.key", "riverside")
    done = run(supernode(running, home, f"key={tmp_path / 'node.key'}", site=copy_of(home, tmp_path)))
    assert done.returncode == 2
    assert last_error(done.stderr).startswith(f"error: {tmp_path / 'node.key'}: the SuperLink at")
    assert "unknown there, or it was revoked" in last_error(done.stderr)


def test_a_superlink_that_the_authority_does_not_vouch_for_is_refused(running: Running, tmp_path: Path):
    home = running.home("riverside")
    write_authority(tmp_path, "other", 30)
    done = run(supernode(running, home, f"certificate={tmp_path / 'ca.pem'}", site=copy_of(home, tmp_path)))
    assert done.returncode == 2
    assert "does not vouch for the SuperLink" in last_error(done.stderr)


def test_a_second_node_of_one_folder_is_refused(running: Running):
    home = running.home("riverside")
    done = run(supernode(running, home, site=home / "site.yaml"))
    assert done.returncode == 2
    assert "a node of this folder runs already" in last_error(done.stderr)


def supernode(running: Running, home: Path, *settings: str, site: Path) -> list[str]:
    files = {"certificate": "ca.pem", "key": "node.key", "secret": "runtime.secret"}
    given = {setting.split("=")[0] for setting in settings}
    rest = [f"{key}={home / name}" for key, name in files.items() if key not in given]
    where = [f"superlink=127.0.0.1:{running.port}", f"port={free_port()}", f"site={site}"]
    return command("foundation.federation.deployment.supernode", *where, *rest, *settings)


def copy_of(home: Path, folder: Path) -> Path:
    """A `site.yaml` of the same hospital in another folder, with a state of its own."""
    (folder / "site.yaml").write_text((home / "site.yaml").read_text())
    (folder / "policy.yaml").write_text("{}\n")
    return folder / "site.yaml"


def test_a_revoked_key_is_refused_at_once_and_after_a_restart(running: Running):
    running.start("lakeview")
    until(lambda: running.online("lakeview"))
    server = f"server={running.server}"
    done = run(command("foundation.federation.deployment.superlink", server, "action=revoke", "site=lakeview"))
    assert done.returncode == 0, done.stderr
    assert running.processes["lakeview"].wait(PATIENCE) == 2, "the running node is turned away"
    assert "it was revoked" in last_error(running.log("lakeview"))
    running.start("lakeview")
    assert running.processes.pop("lakeview").wait(PATIENCE) == 2
    assert running.status()["lakeview"] == "unregistered"
    again = run(command("foundation.federation.deployment.superlink", server, "action=revoke", "site=lakeview"))
    assert last_error(again.stderr).startswith("error: site: no key of 'lakeview' is admitted; there are")


def test_a_site_that_was_never_admitted_is_named_before_the_run_starts(running: Running, tmp_path: Path):
    done = run(running.deployed(tmp_path / "run", "sites=[riverside,summit]"))
    assert done.returncode == 2
    assert "sites: the SuperLink has no key of 'summit'; it admits northgate, riverside" in last_error(done.stderr)


def test_a_site_that_stays_away_is_named(running: Running, tmp_path: Path):
    running.kill("northgate", signal.SIGTERM)
    until(lambda: running.status().get("northgate") == "offline")
    done = run(running.deployed(tmp_path / "run", "join_seconds=5"))
    running.start("northgate")
    until(lambda: running.online(*SITES))
    assert done.returncode == 2
    assert "not connected yet: northgate" in done.stdout
    assert "1 of 2 connected in 5 s" in last_error(done.stderr)


def test_a_killed_node_comes_back_at_once(running: Running):
    running.kill("northgate")
    running.start("northgate")
    began = running.log("northgate").count("SuperNode ID")
    until(lambda: running.log("northgate").count("SuperNode ID") > began, 50)


def order_process(running: Running, site: str) -> psutil.Process | None:
    """The forked process that works on a site's order, if there is one: the child of the warm process."""
    for process in psutil.Process(running.processes[site].pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = process.parent()
            if "forkserver" in " ".join(process.cmdline()) and parent and "forkserver" in " ".join(parent.cmdline()):
                return process
    return None


@pytest.mark.parametrize(
    ("number", "settings", "reason"),
    [
        (signal.SIGKILL, [], "the site's process ended with code -9"),
        (signal.SIGSTOP, ["deadline=60"], "no answer in 60 s|Message Unavailable"),  # which is said first is chance
    ],
    ids=["dies", "hangs"],
)
def test_a_process_that_dies_or_hangs_at_its_order_costs_its_site_that_round(
    running: Running, tmp_path: Path, number: int, settings: list[str], reason: str
):
    output = tmp_path / "run"
    with (tmp_path / "log.txt").open("w") as log:
        done = subprocess.Popen(
            running.deployed(output, "steps_per_round=8", "quorum=0.5", *settings), stdout=log, stderr=log
        )
        ledger = running.folder / "sites" / "northgate" / "ledger.jsonl"
        before = ledger.read_text().count("order") if ledger.is_file() else 0
        until(lambda: ledger.is_file() and ledger.read_text().count("order") > before)
        process = order_process(running, "northgate")
        assert process is not None
        process.send_signal(number)
        assert done.wait(600) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    rounds = json.loads((output / "history.json").read_text())["rounds"]
    assert re.search(reason, rounds[0]["absent"]["northgate"])
    assert set(rounds[0]["training"]) == {"riverside"}
    assert set(rounds[1]["training"]) == set(SITES), "the node took the next order"


def test_a_killed_superlink_costs_no_round(running: Running, finished: Path, tmp_path: Path):
    output = tmp_path / "run"
    with (tmp_path / "first.txt").open("w") as log:
        first = subprocess.Popen(running.deployed(output), stdout=log, stderr=log)
        until(lambda: (output / "history.json").is_file())
        running.kill("server")
        assert first.wait(PATIENCE) == 2
    assert "went away" in last_error((tmp_path / "first.txt").read_text())
    before = json.loads((output / "history.json").read_text())["rounds"]
    assert len(before) == 1
    running.start("server")
    until(lambda: running.online(*SITES))
    done = run(running.deployed(output, "resume=true"))
    assert done.returncode == 0, done.stderr[-3000:] + running.log("server")[-3000:]
    assert json.loads((output / "history.json").read_text())["rounds"][:1] == before
    assert same(final(finished), final(output))


def test_nobody_at_the_address_is_one_line(running: Running, tmp_path: Path):
    server = tmp_path / "server"
    server.mkdir()
    (server / "server.yaml").write_text(f"listen: 127.0.0.1\nport: {free_port()}\n")
    (server / "ca.pem").write_bytes((running.folder / "server" / "ca.pem").read_bytes())
    done = run(running.deployed(tmp_path / "run", f"federation.server={server}"))
    assert done.returncode == 2
    assert "no SuperLink reached" in last_error(done.stderr)
