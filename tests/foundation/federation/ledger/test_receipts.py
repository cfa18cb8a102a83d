"""Ledgers held against the heads that site and server signed."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hydra.core.global_hydra import GlobalHydra

from foundation.federation.ledger import Ledger
from foundation.federation.ledger.__main__ import main
from foundation.federation.ledger.seal import sealed
from tests.foundation.federation.ledger.ledgers import exchange, rounds

pytestmark = pytest.mark.attack
KEYS = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("alpha", "beta", "server")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A SuperLink's folder, with what anybody may have of it."""
    server = tmp_path / "server"
    (server / "nodes").mkdir(parents=True)
    for name in ("alpha", "beta"):
        public = KEYS[name].public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        (server / "nodes" / f"{name}.pub").write_bytes(public)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, KEYS["server"].public_key(), x509.random_serial_number())
        .not_valid_before(today)
        .not_valid_after(today + timedelta(days=1))
        .sign(KEYS["server"], SHA384())
    )
    (server / "superlink.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    return server


def signed(ledger: Ledger, site: str, server: str = "server") -> dict:
    entries = len(ledger.entries())
    return sealed(KEYS[site], ledger.owner, entries, ledger.head).countersigned(KEYS[server]).values()


def verified(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, receipts: dict, *ledgers: Ledger
) -> str:
    """What the command says is wrong; empty where it ends with 0."""
    path = folder.parent / "receipts.json"
    path.write_text(json.dumps(receipts))
    paths = ",".join(str(ledger.path) for ledger in ledgers)
    arguments = ["ledger", "verify", f"ledgers=[{paths}]", f"receipts={path}", f"server={folder}"]
    monkeypatch.setattr(sys, "argv", arguments)
    GlobalHydra.instance().clear()
    try:
        main()
    except SystemExit as left:
        assert left.code == 2
    GlobalHydra.instance().clear()
    return capsys.readouterr().err


def test_ledgers_that_both_sides_signed_hold_and_may_have_grown(monkeypatch, capsys, folder, books):
    server, sites = books
    receipts = {name: signed(site, name) for name, site in sites.items()}
    exchange(server, sites["alpha"], 3)
    assert verified(monkeypatch, capsys, folder, receipts, server, *sites.values()) == ""


def test_attack_by_a_ledger_made_up_anew_which_its_own_chain_cannot_show(monkeypatch, capsys, folder, books, tmp_path):
    _, sites = books
    receipts = {name: signed(site, name) for name, site in sites.items()}
    anew = Ledger.open(tmp_path / "anew" / "ledger.jsonl", "alpha")
    rounds(anew, 3)
    error = verified(monkeypatch, capsys, folder, receipts, anew)
    assert "anew" in error and "lacks entry 4, which" in error and "says that alpha signed" in error


@pytest.mark.parametrize(
    ("site", "server", "said"),
    [("beta", "server", "is not signed by its key"), ("alpha", "beta", "is not countersigned by the server's key")],
)
def test_attack_by_another_signature(monkeypatch, capsys, folder, books, site, server, said):
    _, sites = books
    receipts = {"alpha": signed(sites["alpha"], site, server)}
    assert f"the receipt of alpha {said}" in verified(monkeypatch, capsys, folder, receipts, sites["alpha"])


def test_what_cannot_be_held_against_is_one_line(monkeypatch, capsys, folder, books):
    _, sites = books
    whole = {"alpha": signed(sites["alpha"], "alpha")}
    assert "no receipt of beta; give the receipts.json" in verified(monkeypatch, capsys, folder, whole, sites["beta"])
    assert "receipts.json: alpha" in verified(monkeypatch, capsys, folder, {"alpha": {"head": 3}}, sites["alpha"])
    (folder / "superlink.pem").write_text("none")
    assert "superlink.pem: no certificate" in verified(monkeypatch, capsys, folder, whole, sites["alpha"])
