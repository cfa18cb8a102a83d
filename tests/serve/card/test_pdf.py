"""The PDF is the page as a browser prints it, folded tables open, and is held to the page that it was printed from."""

import json
import shutil
import stat
import time
from pathlib import Path

import pytest

from foundation.errors import UserError
from serve.card import pdf
from serve.card.check import check
from serve.card.graph import sha256

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def printed(copy: Path, tmp_path: Path) -> Path:
    """A card with a PDF, by a program that copies the page behind a PDF's first bytes."""
    script = 'for last; do case "$last" in --print-to-pdf=*) to="${last#--print-to-pdf=}";; esac; done\n'
    browser = program(tmp_path / "browser", script + '{ printf %%PDF-; cat "${last#file://}"; } > "$to"')
    card = copy / "card"
    pdf.print_page((card / "card.html").read_text(), card / pdf.FILE, pdf.find_browser(browser))
    record = json.loads((card / "run.json").read_text())
    record["notes"]["pdf"] = {name: sha256(card / name) for name in (pdf.FILE, "card.html")}
    (card / "run.json").write_text(json.dumps(record))
    return card


def test_folded_tables_are_printed_open(printed: Path):
    text = (printed / pdf.FILE).read_text()
    page = (printed / "card.html").read_text()
    assert text.startswith("%PDF-<!doctype html>")
    assert text.count('<details class="table" open>') == page.count('<details class="table">') > 0


def test_a_pdf_is_held_to_its_page(printed: Path):
    assert check(printed) == []
    (printed / pdf.FILE).write_bytes(b"%PDF-other")
    assert "card.pdf: another file than was printed; write the card again with pdf=true" in check(printed)
    (printed / pdf.FILE).unlink()
    assert "card.pdf: missing; write the card again with pdf=true" in check(printed)


def test_a_page_that_was_changed_since_is_named(printed: Path):
    (printed / "card.html").write_text((printed / "card.html").read_text() + " ")
    assert "card.pdf: printed from another card.html; write the card again with pdf=true" in check(printed)


@pytest.mark.parametrize("note", [3, {"../../secret": "00"}])
def test_a_malformed_note_is_refused(printed: Path, note: object):
    record = json.loads((printed / "run.json").read_text())
    record["notes"]["pdf"] = note
    (printed / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="'notes' is not as a run record has it"):
        check(printed)


def test_a_browser_that_is_not_there_or_does_not_print_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="browser: nowhere is no program; install Chromium"):
        pdf.find_browser("nowhere")
    broken = program(tmp_path / "broken", "echo 'no display' >&2; exit 3")
    with pytest.raises(UserError, match=r"broken wrote no PDF \(no display\)"):
        pdf.print_page("<p>", tmp_path / "out.pdf", broken)
    assert not (tmp_path / "out.pdf").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="none of chromium, .* is installed"):
        pdf.find_browser()


def test_a_browser_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pdf, "_SECONDS", 0.5)
    pids = tmp_path / "pids"
    hangs = program(tmp_path / "hangs", f"sleep 600 &\necho $! $$ > {pids}.new; mv {pids}.new {pids}\nwait")
    with pytest.raises(UserError, match=r"hangs did not print \(no end after 0\.5 seconds\); give another browser="):
        pdf.print_page("<p>", tmp_path / "out.pdf", hangs)
    for pid in map(int, pids.read_text().split()):
        ends(pid)


def test_what_a_browser_leaves_behind_is_not_waited_for(tmp_path: Path):
    pids = tmp_path / "pids"
    script = 'for last; do case "$last" in --print-to-pdf=*) to="${last#--print-to-pdf=}";; esac; done\n'
    leaves = program(tmp_path / "leaves", script + f'sleep 600 &\necho $! > {pids}; printf %%PDF-done > "$to"')
    pdf.print_page("<p>", tmp_path / "out.pdf", leaves)
    assert (tmp_path / "out.pdf").read_bytes() == b"%PDF-done"
    ends(int(pids.read_text()))


def ends(pid: int) -> None:
    """Waits for the end of a process that was killed, which takes a moment; nobody else would end it for minutes."""
    for _ in range(600):
        if not alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} is left")


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.process
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_chromium_prints_the_page(copy: Path, tmp_path: Path):
    pdf.print_page((copy / "card" / "card.html").read_text(), tmp_path / pdf.FILE, str(BROWSER))
    content = (tmp_path / pdf.FILE).read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert 20_000 < len(content) < 2_000_000
