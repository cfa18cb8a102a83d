"""The page that follows a run: what it says, to whom, and what it does when it can say nothing."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from foundation.errors import UserError
from foundation.federation.status import live
from foundation.federation.status.state import RunState, SiteState
from foundation.federation.status.text import as_prometheus
from foundation.polling import wait_until
from foundation.ports import free_ports
from tests.browser import SCREENS, violations
from tests.browser import browser as browser

TOKEN = "of-nobody-else-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SITES = (
    SiteState("alpha", "online", "training, round 3: answered", 6, ""),
    SiteState("beta", "offline", "training, round 3: works on it since 2026-11-20T09:30:00", 4, "<b>no</b> answer"),
)
RUNNING = RunState(
    Path("runs/real"), "running", 2, 8, 30.0, datetime(2030, 1, 1, tzinfo=UTC), SITES, "", "consilium federation status"
)


@pytest.fixture
def states() -> list[RunState]:
    """What the run's folder says; the last one is read."""
    return [RUNNING]


@pytest.fixture
def web(states: list[RunState], monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(live, "_FRESH", -1.0)
    return TestClient(live.build_app(lambda: states[-1], TOKEN))


def test_state_and_metrics_are_the_commands_own(web: TestClient, states: list[RunState]):
    said = web.get("/state.json", headers=BEARER).json()
    assert (said["phase"], said["round"], said["rounds"], said["seconds"]) == ("running", 2, 8, 30.0)
    assert said["deadline"] == "2030-01-01T00:00:00+00:00"
    assert [site["name"] for site in said["sites"]] == ["alpha", "beta"]
    assert web.get("/metrics", headers=BEARER).text == as_prometheus(RUNNING)
    states.append(replace(RUNNING, phase="failed", deadline=None, cause="no site is left"))
    assert web.get("/state.json", headers=BEARER).json() | {"sites": []} == live.as_json(states[-1]) | {"sites": []}


@pytest.mark.parametrize("path", ["/", "/state.json", "/metrics"])
def test_nothing_of_a_run_is_said_without_the_token(web: TestClient, path: str):
    for asked in ({}, {"Authorization": "Bearer other"}, {"Authorization": f"Basic {TOKEN}"}):
        reply = web.get(path, headers=asked)
        assert (reply.status_code, "real" in reply.text) == (401, False)
    assert web.get(path, params={"token": "ü"}).status_code == 401
    reply = web.get(path, params={"token": TOKEN})
    assert reply.status_code == 200
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert (reply.headers["referrer-policy"], reply.headers["cache-control"]) == ("no-referrer", "no-store")


def test_files_beside_the_page_are_its_own_alone(web: TestClient):
    assert web.get("/static/live.js").status_code == 200
    for name in ("live.py", "..%2f__main__.py", "../state.py"):
        assert web.get(f"/static/{name}").status_code == 404


def test_a_folder_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch):
    def gone() -> RunState:
        raise UserError("run: runs/real holds no federated run; give its output folder")

    reply = TestClient(live.build_app(gone, TOKEN)).get("/state.json", headers=BEARER)
    assert (reply.status_code, reply.text) == (503, "run: runs/real holds no federated run; give its output folder\n")


def test_however_many_look_the_disk_is_read_once_a_second():
    read: list[int] = []

    def count() -> RunState:
        read.append(1)
        return RUNNING

    web = TestClient(live.build_app(count, TOKEN))
    for _ in range(5):
        assert web.get("/metrics", headers=BEARER).status_code == 200
    assert len(read) == 1


def test_a_token_of_a_file_is_made_once_and_never_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    asked: list[Any] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **settings: asked.append(settings["host"]))
    path = tmp_path / "token"
    for _ in range(2):
        live.serve(lambda: RUNNING, free_ports(1)[0], path)
    assert path.stat().st_mode & 0o077 == 0
    assert path.read_text().strip() not in capsys.readouterr().out
    assert asked == ["127.0.0.1", "127.0.0.1"]
    path.write_text("short\n")
    with pytest.raises(UserError, match="token_file: .*: its first line has 5 characters; give 16 or more"):
        live.serve(lambda: RUNNING, free_ports(1)[0], path)


@pytest.fixture
def address(states: list[RunState]) -> Iterator[str]:
    """Of the page, served."""
    port = free_ports(1)[0]
    server = uvicorn.Server(
        uvicorn.Config(live.build_app(lambda: states[-1], TOKEN), port=port, log_level="warning", ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert wait_until(lambda: server.started, every=0.02, seconds=20)
    yield f"http://127.0.0.1:{port}/?token={TOKEN}"
    server.should_exit = True
    thread.join(20)


@pytest.mark.process
@pytest.mark.parametrize(("scheme", "screen"), SCREENS)
def test_the_page_follows_the_run(browser, address: str, states: list[RunState], scheme: str, screen: Any):
    states[:] = [replace(RUNNING, deadline=datetime.now(UTC) + timedelta(seconds=60, milliseconds=500))]
    tab = browser.new_page(viewport=screen, color_scheme=scheme)
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(address)
    tab.get_by_text("2 of 8 finished, 30 s a round, about 3 min to go").wait_for()
    assert "Next deadline in " in tab.inner_text("#deadline")
    rows = [line.split("\t") for line in tab.inner_text("#sites").splitlines()]
    assert [row[0] for row in rows] == ["alpha", "beta"]
    assert rows[1][4] == "<b>no</b> answer", "a site's words are text"
    assert violations(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut at the right"

    states.append(replace(RUNNING, phase="failed", deadline=None, cause="no site is left", advice="resume=true"))
    tab.get_by_text("Cause: no site is left").wait_for()
    assert (tab.inner_text("#phase"), tab.inner_text("#deadline"), tab.title()) == (
        "failed",
        "",
        "failed: federated run",
    )
    assert errors == []
    tab.close()
