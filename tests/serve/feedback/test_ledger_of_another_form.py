"""A whole ledger whose lines say something else: one line of error, and never another."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.chained_file import ChainedFile
from foundation.errors import UserError
from foundation.federation.policy import SitePolicy
from serve.feedback.declared import Declared
from serve.feedback.ledger import FILE, FeedbackLedger
from serve.feedback.looks import look
from serve.feedback.shares import share
from serve.feedback.store import Store
from tests.serve.feedback.releases import VERSION
from tests.serve.feedback.test_shares import hospital

_BINDS = ("index", "previous", "hash")
POLICY = SitePolicy.model_validate({"patients": {"cell": 5}})


@pytest.fixture
def lines(declared: Declared, tmp_path: Path) -> list[dict[str, Any]]:
    """Of a hospital that looked, had an alarm and shared."""
    ledger = hospital(tmp_path / "own", declared, "own", {"2027-Q1": 80})
    share(ledger, VERSION, POLICY, "own", tmp_path / "share.json")
    content = [json.loads(line) for line in (tmp_path / "own" / FILE).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in _BINDS} for line in content]


def read_all(folder: Path, lines: list[dict[str, Any]]) -> None:
    """A ledger of these lines, put to every use."""
    file = ChainedFile(folder / FILE)
    for line in lines:
        file.add(line)
    ledger = FeedbackLedger(folder)
    share(ledger, VERSION, POLICY, "own", folder / "share.json")
    look(Store(folder), ledger, VERSION, "2027-Q2", 50)


def test_a_field_that_is_missing_is_named_with_its_line(lines: list[dict[str, Any]], tmp_path: Path) -> None:
    named = set()
    for number, line in enumerate(lines):
        for field in line:
            changed = [dict(one) for one in lines]
            del changed[number][field]
            try:
                read_all(tmp_path / f"{number}-{field}", changed)
            except UserError as error:
                assert f"{FILE}: line {number + 1} holds no '{field}'; install the release" in str(error)
                named.add((line["event"], field))
    needed = {
        "declared": ["declared"],
        "looked": ["quarter", "sums"],
        "alarm": ["test", "quarter"],
        "shared": ["looks"],
    }
    expected = {(event, field) for event, fields in needed.items() for field in (*fields, "event", "version")}
    assert named == expected


@pytest.mark.parametrize(
    ("event", "change", "words"),
    [
        ("looked", {"sums": {"another": {}}}, "tells of a test 'another', which"),
        ("looked", {"sums": {"abstained": {"n": 3}}}, "tells of sums that lack n, sum or growth (abstained)"),
        ("looked", {"sums": 3}, "holds 3 as 'sums', not an object"),
        ("looked", {"shadow": {"another": {}}}, "tells of a test 'another', which"),
        ("shared", {"looks": {"2027-Q1": {"another": {}}}}, "tells of a test 'another', which"),
        ("shared", {"looks": {"2027-Q1": [3]}}, "holds [3] as 'looks.2027-Q1', not an object"),
        ("declared", {"declared": {}}, "holds bounds of another form ('declared."),
    ],
)
def test_what_is_of_another_form_is_named_with_its_line(
    event: str, change: dict[str, Any], words: str, lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    number = [line["event"] for line in lines].index(event)
    lines[number] |= change
    with pytest.raises(UserError) as error:
        read_all(tmp_path / "again", lines)
    assert f"{FILE}: line {number + 1} {words}" in str(error.value)
