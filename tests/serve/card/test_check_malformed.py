"""What is no card, or is one in another form, is refused or named in one line."""

from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from serve.card.check import check
from tests.serve.card.test_check import AUC, changed


def test_what_is_no_card_is_refused(copy: Path, tmp_path: Path):
    changed(copy / "card" / "card.json", ["nodes"], [])
    with pytest.raises(UserError, match=r"card\.json: 'nodes' is a list, no dict"):
        check(copy / "card")
    with pytest.raises(UserError, match=r"run\.json: missing; write the card again"):
        check(tmp_path)


# What a card's own files might hold: file, keys down to it, what it becomes, and what the one line must name.
MALFORMED: list[tuple[str, list[str | int], Any, str]] = [
    ("card.json", ["nodes", AUC], None, rf"card\.json: {AUC} is no statement"),
    ("card.json", ["nodes", AUC, "sources"], 3, rf"card\.json: {AUC} is no statement"),
    ("card.json", ["nodes", AUC, "sources", 0], [[]], rf"card\.json: {AUC} is no statement"),
    ("card.json", ["nodes", AUC, "sources", 0], [], rf"card\.json: {AUC} is no statement"),
    ("card.json", ["readme", 2], [1, "x", AUC], r"card\.json: 'readme', entry 2, is no line"),
    ("card.json", ["readme", 0], -1, r"card\.json: 'readme', entry 0, is no line"),
    ("run.json", ["builds_on", 0], {"path": "../evaluation"}, r"run\.json: 'builds_on' is not"),
    ("run.json", ["builds_on"], [], r"run\.json: 'builds_on' is not"),
    ("run.json", ["config"], 1.5, r"run\.json: 'config' is not"),
    ("run.json", ["notes"], [], r"run\.json: 'notes' is not"),
    ("run.json", ["notes", "judgement"], {"a": 1}, r"run\.json: 'notes' is not"),
]


@pytest.mark.parametrize(("file", "keys", "value", "name"), MALFORMED, ids=lambda value: str(value)[:40])
def test_a_malformed_card_is_refused_in_one_line(copy: Path, file: str, keys: list[str | int], value: Any, name: str):
    changed(copy / "card" / file, keys, value)
    with pytest.raises(UserError, match=name):
        check(copy / "card")


@pytest.mark.parametrize("name", ["README.md", "card.html", "bom.json", "chai.xml"])
def test_a_document_that_is_no_text_is_named(copy: Path, name: str):
    path = copy / "card" / name
    path.write_bytes(path.read_bytes().replace(b"demo", b"\xff\xfe"))
    assert any(problem.startswith(f"{name}:") for problem in check(copy / "card"))
