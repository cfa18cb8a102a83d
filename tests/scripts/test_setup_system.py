"""What tests drive beside Python is installed where one may; elsewhere a line says which tests will skip."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.scripts.test_launch import ROOT

SCRIPT = ROOT / "scripts" / "setup_system.sh"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH of one folder, in which nothing that tests drive is installed."""
    (tmp_path / "bash").symlink_to("/bin/bash")
    stub(tmp_path, "id", "echo 0")
    return tmp_path


def stub(folder: Path, name: str, does: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{does}\n")
    (folder / name).chmod(0o755)


def setup(programs: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "SLOW"} | {"PATH": str(programs), **more}
    return subprocess.run(["/bin/bash", str(SCRIPT)], env=environment, capture_output=True, text=True)


def test_what_is_missing_is_installed_in_one_call(programs):
    stub(programs, "apt-get", f"echo $* >> {programs / 'calls'}")
    stub(programs, "shellcheck", "true")
    assert setup(programs).returncode == 0
    assert (programs / "calls").read_text().splitlines() == [
        "-qq update",
        "-qq install -y --no-install-recommends chromium",
    ]


def test_slow_tests_get_their_servers(programs):
    stub(programs, "apt-get", f"echo $* >> {programs / 'calls'}")
    assert setup(programs, SLOW="1").returncode == 0
    wanted = "chromium shellcheck slurm-wlm orthanc orthanc-dicomweb munge"
    assert (programs / "calls").read_text().splitlines()[1].endswith(wanted)


def test_nothing_is_asked_where_nothing_is_missing(programs):
    for name in ("chromium", "shellcheck"):
        stub(programs, name, "true")
    stub(programs, "apt-get", "exit 1")
    done = setup(programs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("who", ["no root", "no apt", "no network"])
def test_where_nothing_can_be_installed_one_line_says_which_tests_skip(programs, who):
    if who != "no apt":
        stub(programs, "apt-get", "exit 100")
    if who == "no root":
        stub(programs, "id", "echo 1000")
    done = setup(programs)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert "chromium shellcheck" in line
    assert line.endswith("skip" if who == "no network" else "as root: apt-get install chromium shellcheck")
