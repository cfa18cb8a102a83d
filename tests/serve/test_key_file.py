"""The key file: the server's own token comes and goes, other callers' stay."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.files import write_json
from serve.key_file import read_token, remove_server_tokens, write_key_file
from serve.schema import BundleSchema
from serve.server import STATE, Server, stop
from serve.torchserve import server as torchserve

CLINIC = {"clinic": {"key": "word"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key_file.json"


def ended_server(folder: Path) -> Server:
    """One whose process has gone."""
    server = Server(
        "http://127.0.0.1:1/predictions/m",
        "m",
        "1",
        str(folder / "key_file.json"),
        0,
        "none",
        "consilium-none",
        str(folder / "log"),
    )
    write_json(folder / STATE, asdict(server))
    return server


def test_stopping_takes_the_server_s_token_and_leaves_other_callers_theirs(path: Path, tmp_path: Path):
    path.write_text(json.dumps(CLINIC))
    write_key_file(path)
    assert ended_server(tmp_path).token() == read_token(path)
    assert not stop(tmp_path)
    assert json.loads(path.read_text()) == CLINIC
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("names", [["inference"], ["inference", "management", "API"]])
def test_a_key_file_of_the_server_s_own_tokens_alone_is_removed(path: Path, names: list[str]):
    path.write_text(json.dumps({name: {"key": "x"} for name in names}))
    remove_server_tokens(path)
    assert not path.exists()


def test_a_damaged_key_file_is_left_to_whoever_mends_it(path: Path):
    path.write_text('{"clinic": {"key": "wo')
    remove_server_tokens(path)
    assert path.read_text() == '{"clinic": {"key": "wo'


@pytest.mark.parametrize(
    "content", ["{}", '{"inference": 3}', '{"inference": {}}', '{"inference": {"key": null}}', "["]
)
def test_a_token_that_is_not_there_is_one_line(path: Path, content: str):
    path.write_text(content)
    with pytest.raises(UserError, match=r"key_file\.json: .*; start the server again"):
        read_token(path)


def test_torchserve_overwrites_no_caller_s_key(path: Path, tmp_path: Path, bundle: Path):
    path.write_text(json.dumps(CLINIC))
    with pytest.raises(UserError, match=r"key_file\.json: holds callers that TorchServe does not know"):
        torchserve.start(tmp_path / "m.mar", BundleSchema.load(bundle), tmp_path, 18080)
    assert json.loads(path.read_text()) == CLINIC
