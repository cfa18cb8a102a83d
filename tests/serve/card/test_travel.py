"""A card travels in a bundle if it is whole and tells of the model that the bundle holds."""

from pathlib import Path

import pytest

from foundation.errors import UserError
from serve.card.travel import checked


def test_a_whole_card_of_the_model_travels(copy: Path):
    assert checked(copy / "card", copy / "finetune") == copy / "card"


def test_a_card_of_another_model_is_refused(copy: Path, plain_chain: Path):
    with pytest.raises(UserError, match=r"card: .*card tells of another model than .*finetune; write it with"):
        checked(copy / "card", plain_chain / "finetune")


def test_a_card_that_was_edited_is_refused(copy: Path):
    for name in ("README.md", "chai.xml"):
        (copy / "card" / name).write_text("better")
    with pytest.raises(
        UserError, match=r"card: chai\.xml: no XML .*, and 1 more; python -m serve\.card check .* names all"
    ):
        checked(copy / "card", copy / "finetune")
