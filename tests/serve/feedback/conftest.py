from pathlib import Path

import pytest

from serve.feedback.declared import Declared, declare
from serve.release.rules import Rules
from tests.serve.feedback import releases


@pytest.fixture
def declared(tmp_path: Path) -> Declared:
    """What a release of two classes is held to, at a level of 0.05."""
    folder = releases.release(tmp_path / "release")
    return declare(folder / "bundle", folder, Rules(), 0.05)
