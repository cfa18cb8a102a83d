"""The images of `scripts/federation` and `scripts/serving`, built and started as their Containerfiles say.

As root, they are run as a user whom neither image nor host knows, as a cluster may do it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from foundation.ports import free_ports
from tests.scripts.containers import ROOT, Engine

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(5400)]
FEDERATION, SERVING = "consilium-test", "consilium-serve-test"
PYTHON = "/opt/consilium/.venv/bin/python"
SUPERLINK = (PYTHON, "-m", "foundation.federation.deployment.superlink")
START = ("bash", "/federation/start.sh")  # the image's entry point
WAIT = 240  # seconds


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    found = Engine.here()
    found.build(ROOT / "scripts" / "federation" / "Containerfile", FEDERATION)
    found.build(ROOT / "scripts" / "serving" / "Containerfile", SERVING)
    yield found
    found.remove_containers()


def owned(folder: Path) -> str:
    """Gives a folder to a user of no name where that can be done; the user and group."""
    owner = (4321, 4321) if os.getuid() == 0 else (os.getuid(), os.getgid())
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *owner)
    return f"{owner[0]}:{owner[1]}"


@contextmanager
def started(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield
        finally:
            process.terminate()  # which the engine hands on
            try:
                process.wait(30)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def provisioned(folder: Path, data: Path) -> None:
    port, own = free_ports(2)
    settings = ["sites=[riverside]", "address=127.0.0.1", f"port={port}", f"site_port={own}", f"output={folder}"]
    provision = [sys.executable, "-m", "foundation.federation.deployment.provision", f"data={data}"]
    subprocess.run([*provision, *settings], cwd=ROOT, check=True)


def test_image_names_a_user_who_cannot_read_the_keys(engine: Engine, small_cohort: Path, tmp_path: Path):
    provisioned(tmp_path / "federation", small_cohort)
    if os.getuid():
        pytest.skip("keys of another user take root")
    said = engine.output(FEDERATION, "4321:4321", {tmp_path / "federation/server": "/federation"}, *START)
    assert "error: /federation/superlink.key: not readable by user 4321; start it as the folder's owner, 0" in said


def test_server_and_site_of_the_image_meet(engine: Engine, small_cohort: Path, tmp_path: Path):
    provisioned(tmp_path / "federation", Path("/data"))
    user = owned(tmp_path / "federation")
    at_server = {tmp_path / "federation/server": "/federation"}
    at_site = {tmp_path / "federation/sites/riverside": "/federation", small_cohort: "/data"}
    server = started(engine.command(FEDERATION, user, at_server, START), tmp_path / "server.txt")
    site = started(engine.command(FEDERATION, user, at_site, START), tmp_path / "site.txt")
    nodes, said, until = [*SUPERLINK, "action=nodes", "server=/federation"], "", time.monotonic() + WAIT
    with server, site:
        while "online" not in said and time.monotonic() < until:
            said = engine.output(FEDERATION, user, at_server, *nodes)
    logs = "".join((tmp_path / name).read_text() for name in ("server.txt", "site.txt"))
    assert [line.split()[:2] for line in said.splitlines() if "online" in line] == [["riverside", "online"]], (
        said + logs
    )


def test_images_hold_the_project_and_neither_patients_nor_history(engine: Engine):
    for tag in (FEDERATION, SERVING):
        listed = set(engine.output(tag, "0:0", {}, "ls", "-A", "/opt/consilium").split())
        assert {"foundation", "serve", ".venv"} < listed and listed.isdisjoint({".git", "data", "runs"})


def test_commands_of_the_images_answer(engine: Engine):
    assert "usage: consilium federation superlink" in engine.output(FEDERATION, "0:0", {}, *SUPERLINK, "--help")
    assert "usage: consilium serve" in engine.output(SERVING, "4321:4321", {}, PYTHON, "-m", "serve", "--help")
