"""Ledgers of a server and two sites."""

from pathlib import Path

import pytest

from foundation.federation.ledger import Ledger, verify
from foundation.federation.ledger.chain import head_path
from tests.foundation.federation.ledger.ledgers import exchange, rounds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site" / "ledger.jsonl"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    rounds(Ledger.open(path, "riverside"), 3)
    assert verify(path) == []
    return path, path.read_bytes(), head_path(path).read_bytes()


@pytest.fixture
def books(tmp_path: Path) -> tuple[Ledger, dict[str, Ledger]]:
    """A server and two sites after two rounds in which all agree."""
    server = Ledger.open(tmp_path / "server.jsonl", "hub", "server")
    sites = {name: Ledger.open(tmp_path / f"{name}.jsonl", name) for name in ("alpha", "beta")}
    for number in (1, 2):
        for site in sites.values():
            exchange(server, site, number)
    return server, sites
