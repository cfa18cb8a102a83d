"""A card that nobody edited is never accused, whatever it tells of."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from serve.card.build import Inputs
from serve.card.check import check, unanswered
from serve.card.judgement import questions
from tests.serve.card.chains import PRIVACY, chain
from tests.serve.card.conftest import written

KINDS = [
    {},
    {"federated": False},
    {"results": False},
    {"kind": "survival"},
    {"kind": "survival", "federated": False, "results": False},
    {"synthetic": False},
    {"privacy": PRIVACY},
    {"seen": "Seen in training, not held out: 3 of 57."},
    {"at_held_out": {"patients": 3.0}},
    {"kind": "survival", "privacy": PRIVACY, "synthetic": False},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("export", [False, True], ids=["model", "bundle"])
def test_an_untouched_card_is_never_accused(tmp_path: Path, kind: dict[str, Any], export: bool):
    evaluation = chain(tmp_path, **kind)
    inputs = Inputs((evaluation,) * (1 + export), "any 7", "mit", tmp_path / "export" if export else None)
    assert check(written(inputs, tmp_path / "card")) == []


def test_a_whole_card_is_never_accused(copy: Path):
    """Also where the chain was moved as a whole."""
    assert check(copy / "card") == []


def test_names_with_markup_and_ends_of_lines_are_no_false_alarm(tmp_path: Path):
    answers = 'intended_use: "one\\r two\\u2028 <b>"\nfunding: {not_applicable: "<i>|\\n---\\n`"}\n'
    (tmp_path / "card.yaml").write_text(answers)
    inputs = Inputs((chain(tmp_path),), "a <b>\n|`7", "mit", None, tmp_path / "card.yaml")
    assert check(written(inputs, tmp_path / "card")) == []
    assert "<b>" not in (tmp_path / "card" / "card.html").read_text()


def test_open_questions_are_counted(copy: Path):
    assert unanswered(copy / "card") == len(questions()) - 2


def test_every_number_of_the_readme_is_bound(copy: Path):
    card = json.loads((copy / "card" / "card.json").read_text())
    lines = (copy / "card" / "README.md").read_text().split("\n")
    bound = {(row, column): node for row, column, node in card["readme"]}
    body = lines.index("---", 1) + 2
    numbers = sum(len(re.findall(r"\d", each)) for each in lines[body:] if not each.startswith("!["))
    assert numbers == sum(len(re.findall(r"\d", card["nodes"][node]["text"])) for node in bound.values())
