"""Ledgers on the page."""

from pathlib import Path

from foundation.federation.ledger import Ledger
from tests.foundation.federation.report.pages import Page, report


def write_ledger(path: Path, owner: str, server: bool) -> Path:
    ledger = Ledger.open(path, owner, *(["server"] if server else []))
    ways = ("out", "in") if server else ("in", "out")
    for number in (1, 2):
        for kind, way in zip(("order", "update"), ways, strict=True):
            facts = {"run": "c" * 64, "round": number, "groups": ["fusion"], "size": 1000, "digest": "e" * 64}
            ledger.append(kind, way, peer="riverside" if server else "server", **facts)
    return path


def test_the_runs_own_ledger_is_verified(run):
    write_ledger(run / "ledger.jsonl", "server", True)
    page = Page(report(run))
    assert "Verified: 5 entries, none altered; not held against the other side's." in page.text
    assert page.tables["Read and verified for this page"]["server"][1:] == ["5", "2", "2", "2,000", "2,000", "yes"]
    assert "Ledger verified" in page.text


def test_a_changed_ledger_is_not_verified(run):
    path = write_ledger(run / "ledger.jsonl", "server", True)
    path.write_bytes(path.read_bytes().replace(b"1000", b"1001", 1))
    page = Page(report(run))
    assert "Not verified: " in page.text
    assert "Ledger problems" in page.text
    assert "ledger.jsonl" in page.tables["As they were found"]["1"][0]


def test_ledgers_are_held_against_one_another(run, tmp_path):
    server, site = (
        write_ledger(run / "ledger.jsonl", "server", True),
        write_ledger(tmp_path / "site.jsonl", "riverside", False),
    )
    page = Page(report(run, ledgers=[server, site]))
    assert "Verified: 10 entries, none altered; reconciled with one another." in page.text
    Ledger.open(site, "riverside").append(
        "update", "out", run="c" * 64, round=3, peer="server", groups=["fusion"], size=9, digest="a" * 64
    )
    page = Page(report(run, ledgers=[server, site]))
    assert "Not verified: 1 found." in page.text
    assert page.tables["As they were found"]["1"][0].startswith("lost: ")


def test_problems_found_elsewhere_are_told(run, tmp_path):
    page = Page(report(run, problems=["northgate: entry 7 was altered"]))
    assert page.tables["As they were found"]["1"] == ["northgate: entry 7 was altered"]
    page = Page(report(run, ledgers=[tmp_path / "gone.jsonl"]))
    assert "gone.jsonl: cannot be read" in page.text
