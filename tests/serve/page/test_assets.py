"""The page's files: public, under a policy that lets nothing else run, and short enough to be read."""

import re
from importlib import resources
from pathlib import Path

import pytest

from serve.asgi.app import App
from serve.page.assets import page_reply
from tests.serve.asgi.test_app import app as app
from tests.serve.asgi.test_app import ask, key

STATIC = Path(str(resources.files("serve.page"))) / "static"
FILES = sorted(STATIC.iterdir())


@pytest.mark.parametrize("path", ["/", *(f"/page/{file.name}" for file in FILES)])
def test_each_file_is_served_as_what_it_is(path: str):
    reply = page_reply(path)
    assert reply is not None and reply.status == 200
    name = "index.html" if path == "/" else path.removeprefix("/page/")
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
    assert reply.headers["content-type"] == f"{kinds[name.rpartition('.')[2]]}; charset=utf-8"
    assert reply.body == (STATIC / name).read_bytes()


def test_its_policy_lets_nothing_in_from_elsewhere():
    reply = page_reply("/")
    assert reply is not None
    policy = dict(rule.strip().split(" ", 1) for rule in reply.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert (reply.headers["x-content-type-options"], reply.headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize("path", ["/page/", "/page/../x.py", "/page/assets.py", "/page/page.js/", "/other/page.js"])
def test_no_other_file_is_served(path: str):
    assert page_reply(path) is None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_names_no_other_host_and_makes_no_markup_of_text(file: Path):
    text = file.read_text()
    assert len(text.splitlines()) < 300
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}  # a namespace, never asked
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage|cookie", text)


def test_examples_need_a_token_and_a_bundle(app: App, tmp_path: Path):
    assert ask(app, "GET", "/examples", {})[0] == 401
    assert ask(app, "GET", "/examples", {}, token=key(tmp_path))[0] == 404
    app.examples = b'{"everything": {"report": "Atypia."}}'
    assert ask(app, "GET", "/examples", {}, token=key(tmp_path))[2] == {"everything": {"report": "Atypia."}}
    assert ask(app, "POST", "/examples", {}, token=key(tmp_path))[0] == 405
