"""The command that verifies, reconciles and shows ledgers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from foundation.federation.ledger import Ledger
from foundation.federation.ledger.__main__ import main
from tests.foundation.federation.ledger.ledgers import (
    DIGEST,
)


@pytest.fixture
def called(monkeypatch, capsys):
    def run(*arguments: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["python -m foundation.federation.ledger", *arguments])
        GlobalHydra.instance().clear()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            GlobalHydra.instance().clear()
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return run


def given_as(*ledgers: Ledger) -> str:
    return f"ledgers=[{','.join(str(ledger.path) for ledger in ledgers)}]"


def test_the_command_shows_each_ledger_and_that_all_is_well(books, called, tmp_path):
    server, sites = books
    everyone = given_as(server, *sites.values())
    code, out, err = called("verify", everyone, f"output={tmp_path / 'out'}")
    assert (code, err) == (0, [])
    for text in ("server hub: 9 entries", "site alpha: 5 entries", "site beta", "3 ledgers: nothing was altered"):
        assert text in out
    report = json.loads((tmp_path / "out" / "ledgers.json").read_text())
    assert report["problems"] == []
    assert report["ledgers"][str(server.path)]["runs"] == [
        {
            "run": "r1",
            "rounds": [1, 2],
            "out": 4,
            "in": 4,
            "bytes_out": 400,
            "bytes_in": 100,
            "epsilon": None,
            "delta": None,
        }
    ]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["metrics"] == {"problems": 0, "lost": 0}
    assert called("reconcile", everyone)[0] == 0


def test_the_command_ends_with_code_2_and_a_line_a_problem(books, called):
    server, sites = books
    path = sites["alpha"].path
    path.write_bytes(path.read_bytes().replace(b'"size":25', b'"size":52', 1))
    code, out, err = called("verify", given_as(*sites.values()))
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith(f"error: {path}: entry 2: its content and its hash disagree")
    assert "nothing was altered" not in out
    code, _, err = called("verify", given_as(server, *sites.values()))
    assert (code, len(err)) == (2, 2)
    assert "came in with size 25 against 52" in err[1]
    path.write_bytes(b"x" + path.read_bytes())
    code, _, err = called("verify", given_as(server, *sites.values()))
    assert code == 2
    assert err[0].startswith(f"error: {path}: entry 0: cannot be read")


def test_lost_messages_are_a_problem_when_asked(books, called):
    server, sites = books
    server.append("order", "out", run="r1", round=3, peer="beta", size=100, digest=DIGEST)
    everyone = given_as(server, *sites.values())
    code, out, err = called("verify", everyone)
    assert (code, err) == (0, [])
    assert f"lost: {server.path}: entry 9: order" in out
    code, _, err = called("verify", everyone, "--strict")
    assert (code, len(err)) == (2, 1)


def test_entries_can_be_shown(books, called):
    _, sites = books
    code, out, err = called("show", given_as(sites["alpha"]), "run=r1")
    assert (code, err) == (0, [])
    assert out.count("update") == out.count("order") == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error: python -m foundation.federation.ledger: 'nothing' given; say verify, reconcile or show"),
        (["verify"], "error: ledgers: none given; say ledgers=[site/ledger.jsonl,server/ledger.jsonl]"),
        (["verify", "ledger=[a]"], "error: Could not override 'ledger'; did you mean 'ledgers'?"),
        (["verify", "ledgers=nowhere"], "error: nowhere: cannot be read (No such file or directory)"),
    ],
)
def test_what_cannot_be_done_is_one_line(called, arguments, line):
    code, _, err = called(*arguments)
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith(line)


@pytest.mark.process
def test_the_command_as_people_type_it(books):
    server, sites = books
    arguments = [sys.executable, "-m", "foundation.federation.ledger", "verify", given_as(server, *sites.values())]
    done = subprocess.run(arguments, cwd=Path(__file__).parents[4], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 ledgers: nothing was altered" in done.stdout
