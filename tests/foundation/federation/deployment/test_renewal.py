"""Certificates that end: a new authority is trusted beside the old one, and an end is said before it comes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from foundation.errors import UserError
from foundation.federation.deployment import superlink_app
from foundation.federation.deployment.control_client import ServerFolder
from foundation.federation.deployment.pki import days_left
from tests.foundation.federation.deployment.test_provision import provisioned


def certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def verify(authorities: list[x509.Certificate], server: x509.Certificate) -> None:
    verifier = PolicyBuilder().store(Store(authorities)).time(datetime.now(UTC))
    verifier.build_server_verifier(x509.DNSName("localhost")).verify(server, [])


def test_a_new_authority_vouches_beside_the_old_one(tmp_path: Path):
    federation = provisioned(tmp_path, "days=30")
    (old,), before = (
        certificates(federation / "ca" / "ca.pem"),
        certificates(federation / "server" / "superlink.pem")[0],
    )
    provisioned(tmp_path, "days=900", "renew=true")
    both, after = certificates(federation / "ca" / "ca.pem"), certificates(federation / "server" / "superlink.pem")[0]

    assert [one == old for one in both] == [False, True]
    for server in (before, after):
        verify(both, server)
    with pytest.raises(VerificationError):
        verify([old], after)
    for copy in ("server", "invitation"):
        assert certificates(federation / copy / "ca.pem") == both
    assert 899 < days_left(federation / "ca" / "ca.pem") < 900.1


def test_an_authority_that_ended_is_left_out(tmp_path: Path):
    federation = provisioned(tmp_path, "days=0")
    provisioned(tmp_path, "renew=true")
    assert len(certificates(federation / "ca" / "ca.pem")) == 1


@pytest.mark.parametrize(("days", "said"), [(59, "superlink.pem: ends in 59 days; run provision again"), (61, "")])
def test_an_end_that_comes_is_said(tmp_path: Path, capsys, monkeypatch, days: int, said: str):
    started = []
    monkeypatch.setattr(superlink_app, "flower_superlink", lambda: started.append(True))
    for name in ("prepare_superlink", "share_database"):
        monkeypatch.setattr(superlink_app, name, lambda *_: None)
    for name in ("PATH", "FLWR_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(superlink_app.sys, "argv", [])
    superlink_app.start(ServerFolder.load(provisioned(tmp_path, f"days={days}") / "server"))
    assert started == [True]
    assert said in capsys.readouterr().err


def test_what_has_ended_does_not_start(tmp_path: Path):
    federation = provisioned(tmp_path, "days=0")
    with pytest.raises(UserError, match=r"superlink\.pem: ended 0 days ago, so no site trusts it; run provision again"):
        superlink_app.start(ServerFolder.load(federation / "server"))
