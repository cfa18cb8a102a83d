"""Output that nobody reads any more, over real pipes."""

import os
import subprocess
import sys

import pytest

START = "import logging, sys; from foundation.pipes import LogHandler, ends_with_reader\n"
PRINTS = "with ends_with_reader(): print('a line')"
PRINTS_MUCH = "with ends_with_reader(): print('a line\\n' * 100_000)"
LOGS = "logging.root.addHandler(LogHandler(sys.stdout))\nwith ends_with_reader(): logging.warning('a line')"
FAILS = "with ends_with_reader(): print('a line'); sys.exit(2)"
BREAKS_ELSEWHERE = "with ends_with_reader(): print('a line'); raise BrokenPipeError('a worker has gone')"


def run(code: str, reader: str = "gone") -> subprocess.CompletedProcess[str]:
    """A process whose reader has gone before its first word, or reads to the end."""
    near, far = os.pipe()
    os.close(near)
    try:
        output = far if reader == "gone" else subprocess.PIPE
        command = [sys.executable, "-c", START + code]
        return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(far)


@pytest.mark.parametrize("code", [PRINTS, PRINTS_MUCH, LOGS, FAILS])
def test_a_process_whose_reader_has_gone_ends_without_a_word(code: str):
    done = run(code)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(("code", "expected"), [(PRINTS, 0), (LOGS, 0), (FAILS, 2)])
def test_a_process_whose_reader_stays_is_as_ever(code: str, expected: int):
    done = run(code, "reads")
    assert (done.returncode, done.stdout, done.stderr) == (expected, "a line\n", "")


def test_another_pipe_that_breaks_is_still_an_error():
    done = run(BREAKS_ELSEWHERE, "reads")
    assert done.returncode == 1
    assert "BrokenPipeError: a worker has gone" in done.stderr


def test_errors_that_nobody_reads_end_quietly_too():
    code = START + "with ends_with_reader(): print('a line', file=sys.stderr)"
    near, far = os.pipe()
    os.close(near)
    done = subprocess.run([sys.executable, "-c", code], stdout=far, stderr=far, timeout=60, check=False)
    os.close(far)
    assert done.returncode == 141
