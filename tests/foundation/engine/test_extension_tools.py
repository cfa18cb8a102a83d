"""What compiles extensions is found beside the interpreter, and not missed where it is not."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from foundation.engine.extension_tools import find_tools
from tests import warm


@pytest.mark.parametrize(("named", "there"), [("g++ -m64", True), ("ccache g++", False), ("clang++", False)])
def test_a_compiler_is_told_by_its_program_and_not_by_its_options(
    named: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import deepspeed

    (tmp_path / "g++").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", named)
    monkeypatch.setattr(deepspeed.ops, "__compatible_ops__", {"deepspeed_shm_comm": True})
    find_tools()
    assert deepspeed.ops.__compatible_ops__ == {"deepspeed_shm_comm": there}
    assert ("no C++ compiler" in capsys.readouterr().err) is not there


def test_ninja_is_found_in_an_environment_that_is_not_activated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "c++").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    find_tools()
    assert shutil.which("ninja") == str(Path(sys.executable).parent / "ninja")
    before = os.environ["PATH"]
    find_tools()
    assert os.environ["PATH"] == before


@pytest.mark.process
def test_zero_trains_where_no_compiler_is(small_cohort: Path, tmp_path: Path):
    settings = ["experiment=demo", "trainer=deepspeed_zero1", "trainer.accelerator=cpu", "data.batch_size=8", "steps=1"]
    settings += [f"data.folder={small_cohort}", f"output={tmp_path / 'run'}", "progress=false", "monitor_every=0"]
    folders = {"PATH": str(tmp_path), "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions")}
    elsewhere = {name: value for name, value in os.environ.items() if name != "CXX"}
    done = warm.run("pretrain", settings, env={**elsewhere, "DS_ACCELERATOR": "cpu", **folders})
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "compiler" in line and "gradient" not in line]
    assert line.startswith("no C++ compiler (c++) is on this machine: processes sum over gloo")
    assert not (tmp_path / "extensions").exists()
