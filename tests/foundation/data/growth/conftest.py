"""Two hospitals of five patients, as folders and as prepared."""

from pathlib import Path

import pytest
import yaml

from foundation.data.pack import pack
from tests.foundation.data.growth.folders import DECLARED, admit


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    root = tmp_path / "sites"
    for hospital in ("alpha", "beta"):
        (root / hospital).mkdir(parents=True)
        for number in range(1, 6):
            admit(root / hospital, f"{hospital[0]}{number}", images=2 if number == 2 else 1)
    (root / "withdrawn.txt").write_text("")
    (root / "cohort.yaml").write_text(yaml.safe_dump(DECLARED))
    return root


@pytest.fixture
def prepared(sites: Path, tmp_path: Path) -> Path:
    pack(sites, tmp_path / "out")
    return tmp_path / "out"
