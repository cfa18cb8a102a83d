"""Edits of a server's state and of a registry's pointer: each is refused, in a line that names file and field."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from foundation.errors import UserError
from serve.registry_pointer import POINTER, release_in_use
from serve.server import KEY_FILE, STATE, Server
from tests.serve.edits import Edit, cut, dropped, gone, said


@pytest.fixture
def states(tmp_path: Path) -> Path:
    """Folder of a server that was started, and of a registry."""
    server = Server(
        address="http://127.0.0.1:8080/predictions/demo",
        model="demo",
        version="1",
        key_file=str(tmp_path / KEY_FILE),
        pid=os.getpid(),
        program="serve.asgi",
        temporary=str(tmp_path / "consilium-abc"),
        log=str(tmp_path / "server.log"),
    )
    (tmp_path / STATE).write_text(json.dumps(asdict(server)))
    (tmp_path / KEY_FILE).write_text('{"inference": {"key": "token"}}')
    pointer = {"release": "demo-1", "bundle": "releases/demo-1/bundle", "seal": "0" * 64}
    (tmp_path / POINTER).write_text(json.dumps(pointer))
    return tmp_path


def read_states(folder: Path) -> None:
    Server.load(folder).token()
    release_in_use(folder / POINTER)


STATES: dict[str, tuple[Edit, str]] = {
    "half a state": (cut(STATE), f"{STATE}: not readable"),
    "a list": (lambda folder: (folder / STATE).write_text("[]") and None, f"{STATE}: found a list"),
    "no address": (dropped(STATE, "address"), f"{STATE}: address"),
    "a field more": (said(STATE, "hook", value="x"), f"{STATE}: hook"),
    "a number as text": (said(STATE, "pid", value="1"), f"{STATE}: pid"),
    "an address that is no model's": (said(STATE, "address", value="http://evil.example/steal"), f"{STATE}: address"),
    "an address with a user": (said(STATE, "address", value="http://a@b/predictions/demo"), f"{STATE}: address"),
    "another model": (said(STATE, "model", value="other"), f"{STATE}: address"),
    "a folder to be removed": (said(STATE, "temporary", value="/home"), f"{STATE}: temporary"),
    "a folder above": (said(STATE, "temporary", value="consilium-x/.."), f"{STATE}: temporary"),
    "a key file elsewhere": (said(STATE, "key_file", value="/etc/passwd"), f"{STATE}: key_file"),
    "a log elsewhere": (said(STATE, "log", value="../../x.log"), f"{STATE}: log"),
    "half a key file": (cut(KEY_FILE), f"{KEY_FILE}: not readable"),
    "a key file without a key": (said(KEY_FILE, "inference", value={}), f"{KEY_FILE}: 'inference' has no key"),
    "a key that is a number": (said(KEY_FILE, "inference", "key", value=1), f"{KEY_FILE}: 'inference' has no key"),
    "no key file": (gone(KEY_FILE), f"{KEY_FILE}: missing"),
    "a release elsewhere": (said(POINTER, "bundle", value="/tmp/bundle"), f"{POINTER}: bundle"),
    "a release above": (said(POINTER, "bundle", value="../bundle"), f"{POINTER}: bundle"),
    "a release by another name": (said(POINTER, "release", value="../x"), f"{POINTER}: bundle"),
    "a pointer without a seal": (dropped(POINTER, "seal"), f"{POINTER}: holds no 'seal'"),
    "a seal that is a number": (said(POINTER, "seal", value=0), f"{POINTER}: seal"),
    "half a pointer": (cut(POINTER), f"{POINTER}: not readable"),
}


@pytest.mark.parametrize(("edit", "words"), STATES.values(), ids=STATES)
def test_an_edited_state_is_refused(states: Path, edit: Edit, words: str):
    read_states(states)
    edit(states)
    with pytest.raises(UserError) as caught:
        read_states(states)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
