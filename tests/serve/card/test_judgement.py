"""What people say stands in the card as they said it, and what nobody said stands open."""

from pathlib import Path

import pytest

from foundation.errors import UserError
from serve.card.build import Inputs, build
from serve.card.judgement import read
from tests.serve.card.test_card import card_of

LAUGHS = ", ".join(
    f"&a{depth + 1} [{', '.join([f'*a{depth}'] * 10)}]" for depth in range(6)
)  # a million zeros in words


@pytest.fixture
def evaluation(plain_chain: Path) -> Path:
    return plain_chain / "evaluation"


def test_questions_that_nobody_answered_stand_open(evaluation: Path, tmp_path: Path):
    readme, _, _ = card_of(evaluation)
    assert readme.count("| OPEN: nobody has said |") == 34
    (tmp_path / "card.yaml").write_text("contact: Ask 2 of us.\nfunding: {not_applicable: nobody paid}\n")
    card = build(Inputs((evaluation,), "demo", "mit", None, tmp_path / "card.yaml"), tmp_path / "card")
    readme = card.documents["README.md"]
    assert "| Whom does a reader write to? | Ask 2 of us. |" in readme
    assert "| Who paid, and what part had they in the work? | not applicable: nobody paid |" in readme
    assert readme.count("| OPEN: nobody has said |") == 32
    assert card.content["nodes"]["judgement/contact"]["sources"] == [["../card.yaml", "contact"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contakt: me\n", "'contakt' is no question"),
        ("contact: 7\n", "contact is '7'; write a text"),
        ("contact: {not_applicable: }\n", "contact is 'None'; write a text"),
        ("- contact\n", "holds no answers by field"),
        ("contact: [\n", "not readable as YAML"),
        (f"contact: {'[' * 5000}{']' * 5000}\n", "nested too deep"),
        (f"contact: [&a0 [0], {LAUGHS}]\n", "contact is a list; write a text"),
    ],
)
def test_answers_that_are_none_are_refused(evaluation: Path, tmp_path: Path, text: str, message: str):
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        build(Inputs((evaluation,), "demo", "mit", None, tmp_path / "card.yaml"), tmp_path / "card")


def test_a_question_that_is_answered_twice_is_refused(tmp_path: Path):
    (tmp_path / "card.yaml").write_text("users: Researchers.\nfunding: Us.\nusers: Anybody.\n")
    with pytest.raises(UserError, match="'users' is answered twice, in lines 1 and 3; keep one answer"):
        read(tmp_path / "card.yaml")
