"""A container's user who is not the folder's owner is told so, and by what to be."""

import os
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.federation.deployment.ownership import check_owner


def test_owner_may_start(tmp_path: Path):
    (tmp_path / "node.key").write_text("")
    check_owner(tmp_path, tmp_path / "node.key", tmp_path / "absent.key")


@pytest.mark.parametrize(("refused", "words"), [("", "cannot be written"), ("node.key", "node.key: not readable")])
def test_another_user_is_told_the_owner(refused: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "node.key").write_text("")
    os.chown(tmp_path, os.getuid(), os.getgid())
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / refused)
    with pytest.raises(UserError, match=rf"{words} by user .*--user {os.getuid()}:{os.getgid()}"):
        check_owner(tmp_path, tmp_path / "node.key")
