"""The command that writes the page, and the elements that it is made of."""

import sys

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.federation.report import __main__ as command
from foundation.federation.report.elements import duration, size, spans
from foundation.federation.report.history import Run
from foundation.federation.report.svg import ticks
from tests.foundation.federation.report.pages import Page, report
from tests.foundation.federation.report_runs import SITES, write_other


def called(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m foundation.federation.report", *arguments])
    GlobalHydra.instance().clear()
    try:
        command.main()
    finally:
        GlobalHydra.instance().clear()


def test_the_command_writes_the_page(run, tmp_path, monkeypatch, capsys):
    other = write_other(tmp_path / "pooled", list(SITES[:3]), 2.0, 0.6)
    monkeypatch.chdir(tmp_path)
    called(monkeypatch, f"run={run}", f"others=[{other}]")
    assert capsys.readouterr().out == f"report: {run / 'report.html'}\n"
    assert "Local, federated and pooled" in (run / "report.html").read_text()
    for arguments, message in (([], "error: run: none given; say run=FOLDER"), (["runn=x"], "did you mean 'run'?")):
        with pytest.raises(SystemExit) as left:
            called(monkeypatch, *arguments)
        assert left.value.code == 2
        assert message in capsys.readouterr().err


def test_the_page_names_its_sources(run):
    text = Page(report(run)).text
    for name, digest in Run.read(run).digests.items():
        assert f"{name} SHA-256 {digest[:16]}" in text
    assert "strategy: FedProx (proximal 0.01); compression: Compressor (kind int8)" in text
    assert f"config digest {'c' * 64}" in text


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 8))
@settings(deadline=None)
def test_ticks_cover_what_they_are_for(low, width, most):
    found = ticks(low, low + width, most)
    slack = 1e-6 * (found[1] - found[0])
    assert found[0] <= low + slack
    assert found[-1] >= low + width - slack
    assert found == sorted(set(found))
    assert 2 <= len(found) <= most + 2


@given(st.sets(st.integers(1, 60)))
def test_spans_hold_every_round(numbers):
    found: set[int] = set()
    for part in filter(None, spans(sorted(numbers)).split(", ")):
        first, _, last = part.partition("–")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers


def test_units_are_readable():
    assert [size(value) for value in (0, 999, 1500, 2.5e6, 3e9)] == ["0 B", "999 B", "1.5 kB", "2.5 MB", "3 GB"]
    assert [duration(value) for value in (5, 119, 600, 7200)] == ["5 s", "119 s", "10 min", "2 h"]
