"""A card that was written, for each test to spoil its own copy."""

import shutil
from pathlib import Path

import pytest

from foundation.files import write_json, write_text
from foundation.run_record import RunRecord
from serve.card.build import DATA, Inputs, build
from tests.serve.card.chains import PRIVACY, chain, trial

ANSWERS = "intended_use: Research on gliomas, in 3 hospitals.\nfunding: {not_applicable: nobody paid}\n"


def written(inputs: Inputs, output: Path) -> Path:
    """A card as the command leaves it."""
    card = build(inputs, output)
    config: dict[str, object] = {"name": inputs.name, "license": inputs.license}
    config |= {"export": str(inputs.export) if inputs.export else None, "analyses": list(map(str, inputs.analyses))}
    parents = [*inputs.evaluations, *inputs.analyses, *([inputs.export] if inputs.export else [])]
    with RunRecord.open(output, "python -m serve.card", config, 0, parents) as record:
        for name, text in card.documents.items():
            write_text(output / name, text)
        for name, picture in card.pictures.items():
            shutil.copyfile(picture, output / name)
        write_json(output / DATA, card.content, sort_keys=False)
        if inputs.judgement:
            record.note("judgement", f"../{inputs.judgement.name}")
    return output


@pytest.fixture(scope="session")
def plain_chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain without a card."""
    return chain(tmp_path_factory.mktemp("plain")).parent


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain with its card in `card/`."""
    root = tmp_path_factory.mktemp("whole")
    evaluation = chain(root, privacy=PRIVACY)
    (root / "card.yaml").write_text(ANSWERS)
    analyses = (trial(root / "trial", root / "finetune"),)
    written(Inputs((evaluation,), "demo", "mit", root / "export", root / "card.yaml", analyses), root / "card")
    return root


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The same, to be spoilt."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def evaluation(plain_chain: Path, tmp_path: Path) -> Path:
    shutil.copytree(plain_chain, tmp_path, dirs_exist_ok=True)
    return tmp_path / "evaluation"
