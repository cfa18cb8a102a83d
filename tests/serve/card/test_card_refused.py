"""Evaluations, models and bundles that do not belong together make no card."""

from pathlib import Path

import pytest

from foundation.errors import UserError
from serve.card.build import Inputs, build
from tests.serve.card.chains import chain
from tests.serve.card.test_card import card_of


def test_a_changed_run_is_refused(evaluation: Path):
    path = evaluation.parent / "pretrain" / "run.json"
    path.write_text(path.read_text().replace("1.2345", "0.1"))
    with pytest.raises(UserError, match="changed since"):
        card_of(evaluation)


def test_two_files_of_an_evaluation_that_disagree_are_refused(evaluation: Path):
    path = evaluation / "results.json"
    path.write_text(path.read_text().replace("0.8811", "0.8812"))
    with pytest.raises(UserError, match=r"value of by_group/sex/F/auc is 0.8811, but 0.8812 in results.json; evaluate"):
        card_of(evaluation)


def test_no_evaluation(tmp_path: Path):
    with pytest.raises(UserError, match=r"finetune\.evaluate"):
        card_of(tmp_path)


def test_an_export_of_another_model_is_refused(evaluation: Path, tmp_path: Path):
    chain(tmp_path / "other")
    with pytest.raises(UserError, match="no export of a model evaluated here"):
        build(Inputs((evaluation,), "demo", "mit", tmp_path / "other" / "export"), tmp_path / "card")


def test_a_bundle_that_is_not_the_evaluated_model_is_refused(evaluation: Path, tmp_path: Path):
    inputs = Inputs((evaluation,), "demo", "mit", evaluation.parent / "export")
    card = build(inputs, tmp_path / "card")
    assert "| version | 90b0751597d1 |" in card.documents["README.md"]
    (evaluation.parent / "finetune" / "head.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match="holds another head than"):
        build(inputs, tmp_path / "card")
    (evaluation.parent / "export" / "bundle" / "model" / "head.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match=r"head\.safetensors: changed since, as manifest\.json tells"):
        build(inputs, tmp_path / "card")
