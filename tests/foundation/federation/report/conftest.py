"""A run to report on."""

from pathlib import Path

import pytest

from tests.foundation.federation.report_runs import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")
