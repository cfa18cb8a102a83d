"""What the commands of a registry print."""

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from serve.release.__main__ import main


@pytest.mark.parametrize("action", ["show", "rollback", "compare", "promote"])
def test_a_folder_that_is_no_registry_is_refused_and_not_made(
    action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mistyped"
    monkeypatch.setattr(sys, "argv", ["python -m serve.release", action, f"registry={folder}", "reason=alarm"])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit):
        main()
    line = f"error: {folder}: no release; python -m serve.release propose takes one in"
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert not folder.exists()
