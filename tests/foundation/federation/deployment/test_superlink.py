"""How the SuperLink's database is opened."""

from pathlib import Path

import pytest
from flwr.supercore import sql_mixin
from flwr.supercore.object_store.sql_object_store import SqlObjectStore
from sqlalchemy import text

from foundation.federation.deployment.superlink import settle_database


def test_a_request_waits_for_anothers_write_and_no_connection_maps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sql_mixin, "SQLITE_PRAGMAS", ())  # put back after the test
    settle_database()
    store = SqlObjectStore(f"sqlite:///{tmp_path / 'state.sqlite'}")
    store.initialize()
    with store.session() as session:
        found = {
            name: session.scalar(text(f"PRAGMA {name}"))
            for name in ("busy_timeout", "cache_size", "mmap_size", "journal_mode")
        }
    assert found == {"busy_timeout": 120_000, "cache_size": -4000, "mmap_size": 0, "journal_mode": "wal"}
