"""The patches of Flower's SuperLink: as Flower is it has the fault, and patched it has it not."""

from pathlib import Path
from typing import Any

import pytest
from flwr.supercore.object_store.sql_object_store import SqlObjectStore
from flwr.superlink import main as superlink
from sqlalchemy import text
from starlette.testclient import TestClient

from foundation.federation.deployment import flower_patches
from foundation.federation.deployment.command_gate import SitesStayOutside
from tests.foundation.federation.deployment.flower_restored import restore_flower


@pytest.fixture(autouse=True)
def flower(monkeypatch: pytest.MonkeyPatch) -> None:
    restore_flower(monkeypatch)


def pragmas(path: Path) -> dict[str, Any]:
    """How a connection to Flower's database is set."""
    store = SqlObjectStore(f"sqlite:///{path}")
    store.initialize()
    names = ("busy_timeout", "cache_size", "mmap_size", "journal_mode")
    with store.session() as session:
        return {name: session.scalar(text(f"PRAGMA {name}")) for name in names}


def test_a_request_waits_for_anothers_write_and_no_connection_maps_the_file(tmp_path: Path):
    flowers = pragmas(tmp_path / "flowers.sqlite")
    assert flowers["busy_timeout"] < 60_000
    assert flowers["mmap_size"] > 0
    flower_patches.share_database()
    patched = pragmas(tmp_path / "patched.sqlite")
    assert patched == {"busy_timeout": 120_000, "cache_size": -4000, "mmap_size": 0, "journal_mode": "wal"}


def status_of_list_runs(client: str) -> int:
    """The status that the SuperLink answers with where a machine asks for the list of runs."""
    content_type = {"content-type": "application/protobuf"}
    with TestClient(superlink.create_app(), client=(client, 50000)) as web:
        return web.post("/v1/control/list-runs", content=b"", headers=content_type).status_code


def test_the_superlink_takes_commands_from_its_own_machine_alone():
    assert status_of_list_runs("10.0.0.5") == 200
    flower_patches.prepare_superlink(lambda app: app.add_middleware(SitesStayOutside))
    assert status_of_list_runs("10.0.0.5") == 403
    assert status_of_list_runs("127.0.0.1") == 200
