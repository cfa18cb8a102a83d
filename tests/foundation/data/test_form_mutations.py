"""Broken inputs over all forms: every file in every way, each told in one line, and never a traceback."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foundation.data.declaration import declare
from foundation.data.problems import DataError
from foundation.data.validation import validate
from tests.foundation.data.form_files import FORMS, write_form

Break = Callable[[bytes], bytes]


def of_lines(change: Callable[[list[str]], list[str]]) -> Break:
    def broken(content: bytes) -> bytes:
        try:
            return "\n".join([*change(content.decode().splitlines()), ""]).encode()
        except UnicodeDecodeError:  # no text: its bytes stand for lines
            return content[: len(content) // 3]

    return broken


def flipped(content: bytes) -> bytes:
    """A tenth of the bytes exchanged."""
    rng, values = np.random.default_rng(len(content)), np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, len(values), len(values) // 10 + 1)
    values[places] = rng.integers(0, 256, len(places))
    return values.tobytes()


# Whether each must be noticed, whatever the file holds.
BREAKS: dict[str, tuple[Break, bool]] = {
    "empty": (lambda content: b"", True),
    "binary": (lambda content: bytes(range(256)) * 8, True),
    "cut off": (lambda content: content[: len(content) // 2], False),
    "flipped": (flipped, False),
    "of another encoding": (lambda content: content.decode("latin-1").encode("utf-16"), True),
    "a web page": (lambda content: b"<!DOCTYPE html><html>Log in</html>", True),
    "without header": (of_lines(lambda lines: lines[1:]), False),
    "a row too long": (of_lines(lambda lines: [*lines[:-1], lines[-1] + ",9\t9,9"]), False),
    "a row twice": (of_lines(lambda lines: [*lines, lines[-1]]), False),
    "a quote open": (of_lines(lambda lines: [*lines[:-1], '"' + lines[-1]]), False),
    "words for numbers": (of_lines(lambda lines: [lines[0], *(line.replace("1", "one") for line in lines[1:])]), False),
    "without a first column": (of_lines(lambda lines: [line[2:] for line in lines]), False),
}


def lines_of(folder: Path, declared: dict) -> tuple[list[str], list[str]]:
    """Errors and warnings, a line each."""
    try:
        problems = validate(folder, declare(declared, folder / "cohort.yaml"), progress=False).problems
    except DataError as error:
        return [str(error)], []
    return [str(one) for one in problems.errors], [str(one) for one in problems.warnings]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_every_file_of_a_form_broken_in_every_way_is_told_in_lines(tmp_path: Path, name: str):
    declared = write_form(name, tmp_path / "sound")
    assert lines_of(tmp_path / "sound", declared)[0] == []
    files = sorted(path for path in (tmp_path / "sound" / "a").rglob("*") if path.is_file())
    for number, file in enumerate(files):
        for kind, (damage, noticed) in BREAKS.items():
            folder = tmp_path / f"{number} {kind}"
            shutil.copytree(tmp_path / "sound", folder)
            path = folder / file.relative_to(tmp_path / "sound")
            path.write_bytes(damage(path.read_bytes()))
            errors, warnings = lines_of(folder, declared)
            assert all("\n" not in line and line for line in [*errors, *warnings]), (file.name, kind)
            assert errors or not noticed, (file.name, kind)
            shutil.rmtree(folder)


def test_there_are_as_many_as_promised(tmp_path: Path):
    files = 0
    for name in FORMS:
        write_form(name, tmp_path / name)
        files += sum(path.is_file() for path in (tmp_path / name / "a").rglob("*"))
    assert files * len(BREAKS) >= 500
