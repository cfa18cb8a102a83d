"""The page in a headless browser, before the application of the endpoint in a thread of this process."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from serve import examples, host
from serve.asgi.app import App
from serve.asgi.pool import Limits, Pool
from serve.asgi.tokens import Tokens
from serve.explanation import replies
from serve.key_file import write_key_file
from serve.monitoring.observer import Observer
from serve.openapi import describe
from serve.predictor import Predictor
from tests.browser import DESK
from tests.browser import browser as browser


class InProcess(Pool):
    """Answers by a predictor of this process."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__([], Limits())
        self.predictor = predictor

    async def answer(self, call: host.Call) -> host.Reply:
        return replies(self.predictor, [call])[0]


@dataclass
class Site:
    """An endpoint that listens."""

    address: str
    token: str


@pytest.fixture(scope="module")
def site(predictor: Predictor, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    write_key_file(folder / "key_file.json")
    schema = predictor.schema
    observer = Observer(folder, None, {"version": schema.version})
    tokens = Tokens(folder / "key_file.json")
    app = App(schema.name, schema.version, describe(schema), InProcess(predictor), tokens, observer)
    app.examples = examples.read(bundle)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    token = json.loads((folder / "key_file.json").read_text())["inference"]["key"]
    yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", token)
    server.should_exit = True
    thread.join(10)
    listener.close()
    observer.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab as wide as a desk's, in which no script may fail."""
    tab = browser.new_page(viewport=DESK, reduced_motion="reduce")
    failures: list[str] = []
    tab.on("pageerror", lambda error: failures.append(str(error)))
    yield tab
    tab.close()
    assert failures == []


@pytest.fixture
def connected(page: Any, site: Site) -> Any:
    """The page once its token is taken."""
    page.goto(site.address)
    page.fill("#token", site.token)
    page.keyboard.press("Enter")
    page.wait_for_selector("#examples button")
    return page
