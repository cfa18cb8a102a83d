"""What the commands of a registry print."""

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from foundation.chained_file import ChainedFile
from foundation.errors import UserError
from serve.release.__main__ import main
from serve.release.registry import Registry
from serve.release.rules import Evidence, Rules


@pytest.mark.parametrize("action", ["compare", "promote"])
def test_a_release_that_was_rolled_back_is_a_challenger_by_its_name_alone(
    action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    promoted: list[str] = []
    monkeypatch.setattr(Registry, "stages", lambda self: {"own-1": "promoted", "own-2": "rolled back"})
    monkeypatch.setattr(ChainedFile, "entries", lambda self: [{}])
    monkeypatch.setattr(Registry, "point", lambda self: None)

    def promote(self: Registry, release: str, *_: object) -> Evidence:
        promoted.append(release)
        return Evidence(release, None, "", (), "none")

    monkeypatch.setattr(Registry, action, promote)
    command = ["python -m serve.release", action, f"registry={tmp_path}"]
    monkeypatch.setattr(sys, "argv", list(command))
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit):
        main()
    assert "release: own-2, the latest, was rolled back; say release=own-2" in capsys.readouterr().err
    assert promoted == []
    monkeypatch.setattr(sys, "argv", [*command, "release=own-2"])
    GlobalHydra.instance().clear()
    main()
    assert promoted == ["own-2"]


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


def test_the_release_in_use_is_compared_with_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "current", lambda self: "own-1")
    with pytest.raises(UserError, match="own-1 is in use already, so there is none to compare it with"):
        Registry(tmp_path).compare("own-1", Rules(), None, None)
