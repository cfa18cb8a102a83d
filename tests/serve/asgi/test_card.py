"""The second host shows the bundle's card at a path of its own, to those who have a token."""

from pathlib import Path

import pytest

from serve import manifest
from serve.asgi.app import App
from serve.card_endpoint import Card
from tests.serve.asgi.test_app import app as app
from tests.serve.asgi.test_app import ask, key


@pytest.fixture
def showing(app: App, tmp_path: Path) -> App:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "card.html").write_text("[1]")
    (tmp_path / "card" / "README.md").write_text("[2]")
    manifest.write(tmp_path)
    app.card = Card.load(tmp_path)
    return app


@pytest.mark.parametrize(
    ("accept", "kind", "content"),
    [
        ("", "text/html; charset=utf-8", [1]),
        ("*/*", "text/html; charset=utf-8", [1]),
        ("text/markdown", "text/markdown; charset=utf-8", [2]),
    ],
)
def test_the_card_is_shown_as_it_is_accepted(showing: App, tmp_path: Path, accept: str, kind: str, content: list[int]):
    headers = {"accept": accept} if accept else {}
    status, sent, body = ask(showing, "GET", "/card", headers, token=key(tmp_path))
    assert (status, sent["content-type"], body) == (200, kind, content)


def test_a_card_needs_a_token_a_get_and_a_kind_that_there_is(showing: App, tmp_path: Path):
    assert ask(showing, "GET", "/card", {})[0] == 401
    assert ask(showing, "POST", "/card", {}, token=key(tmp_path))[0] == 405
    for accept in ("application/pdf", "image/png"):
        status, _, body = ask(showing, "GET", "/card", {"accept": accept}, token=key(tmp_path))
        assert (status, body["field"]) == (404, "Accept")


def test_without_a_bundle_nothing_is_served_there(app: App, tmp_path: Path):
    status, _, body = ask(app, "GET", "/card", {}, token=key(tmp_path))
    assert (status, body["reason"]) == (404, "nothing is served there")
