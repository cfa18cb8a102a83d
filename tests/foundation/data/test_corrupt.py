"""Broken cohorts, each with one fault: validation names it in one line, packing refuses it, nothing passes silently."""

import shutil
import subprocess
from pathlib import Path

import pytest

from foundation.data.declaration import read_declaration
from foundation.data.pack import pack
from foundation.data.problems import DataError
from foundation.data.validation import validate
from tests import warm
from tests.foundation.cohort_files import write_cohort
from tests.foundation.corrupt_images import IMAGES, SHARED, SLIDES
from tests.foundation.corrupt_tables import TABLES

ALL = {**TABLES, **IMAGES, **SLIDES, **SHARED}
PICTURES = {**IMAGES, **SLIDES, **SHARED}


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("corrupt") / "sound")


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "cohort"))


def errors(root: Path, images: bool) -> list[str]:
    """One line an error, the declaration's own too."""
    try:
        found = validate(root, read_declaration(root), images=images, progress=False)
    except DataError as error:
        return [str(error)]
    return [str(problem) for problem in found.problems.errors]


def refused(root: Path, output: Path) -> str:
    with pytest.raises(DataError) as error:
        pack(root, output)
    assert not output.exists()
    return str(error.value)


def test_there_are_as_many_as_promised():
    assert len(ALL) >= 100
    assert len({build for build, _ in ALL.values()}) == len(ALL)


def test_the_cohort_that_is_damaged_is_sound(root, tmp_path):
    assert errors(root, images=True) == []
    assert pack(root, tmp_path / "packed")["found"]["north"]["pathology"] == 3


@pytest.mark.parametrize("name", ALL)
def test_each_fault_is_one_line_that_names_file_and_field(root, name):
    build, words = ALL[name]
    build(root)
    (line,) = errors(root, images=name in PICTURES)
    assert words in line
    assert "\n" not in line
    assert "; " in line  # what to do


@pytest.mark.parametrize("name", [name for name in ALL if name not in SHARED])
def test_packing_refuses_the_same(root, tmp_path, name):
    build, words = ALL[name]
    build(root)
    line = refused(root, tmp_path / "packed")
    if name in TABLES:
        (wanted,) = errors(root, images=False)
        assert line == wanted
    else:
        assert words.partition(": ")[0] in line


@pytest.mark.process
@pytest.mark.parametrize("name", ["record ragged", "png cut off", "declaration no yaml"])
def test_the_command_ends_with_code_2_and_one_line(root, tmp_path, name):
    build, words = ALL[name]
    build(root)
    given = ["cohort=folder", "cohort.name=small", f"cohort.root={root}", f"output={tmp_path / 'out'}"]
    done = command("validate", *given)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert words in line


@pytest.mark.process
def test_strict_stops_at_warnings(root, tmp_path):
    given = ["cohort=folder", "cohort.name=small", f"cohort.root={root}", f"output={tmp_path / 'out'}"]
    assert command("validate", *given).returncode == 0
    done = command("validate", "--strict", *given)
    assert done.returncode == 2
    assert "carry tags that can show who the patient is" in done.stderr
    assert {"validation.md", "validation.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run("foundation.data", arguments)
